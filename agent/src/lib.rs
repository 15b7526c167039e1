//! The hive: pulls models, supervises workers, reports.
