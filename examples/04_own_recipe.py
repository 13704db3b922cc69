"""Writes a recipe in Python and as YAML, with guards, and reads its ledger."""

import featherweight as fw
from digits import task as describe
from featherweight.recipes.recipe import Step


def main() -> None:
    """Two steps, each with the most accuracy that it may cost on the validation data."""
    recipe = fw.Recipe(
        name="gentle",
        steps=(
            Step.of("pruning.connection.magnitude", density=0.15, epochs=4),
            Step.of("representation.sharing.kmeans", bits=4, epochs=2),
        ),
        max_drop=0.02,
    )
    print(recipe.to_yaml())
    task = describe()
    result = fw.compress(task.build(), recipe, fw.Context(task))
    for entry in result.ledger:
        sizes = f"{entry.before['encoded_bytes']:,} -> {entry.after['encoded_bytes']:,} bytes"
        print(f"{entry.technique}: {sizes}, score {entry.score_before:.4f} -> {entry.score_after:.4f}")


if __name__ == "__main__":
    main()
