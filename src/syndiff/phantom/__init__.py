"""A seeded procedural colonoscopy: pictures with exact masks, groups and captions, without any patient."""

from syndiff.phantom.folder import write_phantom
from syndiff.phantom.sequence import Frame, render_sequence

__all__ = ["Frame", "render_sequence", "write_phantom"]
