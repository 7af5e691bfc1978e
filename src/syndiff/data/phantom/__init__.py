"""A seeded procedural colonoscopy: pictures with exact masks, groups and captions, without any patient."""

from syndiff.data.phantom.folder import write_phantom
from syndiff.data.phantom.sequence import Frame, render_sequence

__all__ = ["Frame", "render_sequence", "write_phantom"]
