//! The server's own CA and certificate.
