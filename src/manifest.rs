//! YAML in, resources and diagnostics out. Source positions live here and nowhere else.
