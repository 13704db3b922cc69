"""Makes the forge importable: what builds files by hand, independent of the code under test."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
