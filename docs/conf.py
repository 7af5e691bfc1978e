"""The site: `make docs` builds it from docs/ and results/ into build/site, without a network."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "SynDiff"
copyright = "the SynDiff contributors, Apache-2.0"
extensions = ["myst_parser", "made_pages"]

# The source folder is the repository: a link between docs/ and results/ is the same there and in the site.
root_doc = "docs/index"
include_patterns = ["docs/**", "results/**", "CHANGELOG.md", "CONTRIBUTING.md"]
exclude_patterns = [".*", "benchmarks", "build", "dist", "runs", "scripts", "src", "tests"]

myst_heading_anchors = 4
highlight_language = "text"
toc_object_entries_show_parents = "hide"
smartquotes_action = "qe"  # quotes and ellipses; the two dashes of an option stay two
python_maximum_signature_line_length = 90

html_theme = "furo"
html_title = "SynDiff"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
