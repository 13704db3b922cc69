"""The version of featherweight, where every floor can name it."""

VERSION = "0.1.0"
