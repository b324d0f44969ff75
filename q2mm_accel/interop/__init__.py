"""Objects of other packages -> ours, without importing those packages."""
