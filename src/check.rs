//! Rules over all that a revision holds of a mesh.
