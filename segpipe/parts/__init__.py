"""Parts of a run that a configuration chooses: by a shipped name, a plug-in's name, or any callable's import path."""

from segpipe.parts.building import build_part
from segpipe.parts.registry import Builder, Registry
from segpipe.parts.targets import TARGET, build_target, target_mistakes

__all__ = ["TARGET", "Builder", "Registry", "build_part", "build_target", "target_mistakes"]
