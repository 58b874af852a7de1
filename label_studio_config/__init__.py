"""Labelling configs to paste into a project; a package, so that an installed weakhar has them too."""
