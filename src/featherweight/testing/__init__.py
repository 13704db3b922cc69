"""The conformance batteries, shipped, for plug-in authors too."""
