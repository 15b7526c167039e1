//! Pure: which hive a replica goes to, and why not the others.
