"""Low rank: layers replaced by chains of thinner ones."""
