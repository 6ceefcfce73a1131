//! The composition root: builds every part, starts and drains the tasks.
