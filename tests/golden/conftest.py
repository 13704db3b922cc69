"""Makes the reader importable that was written after docs/format.md alone, and the streams that it reads."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
