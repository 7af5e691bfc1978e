"""The studies, one file each; `syndiff.studies.study.known_studies` finds them."""
