//! The HTTP client for hives, workers and the gateway: no proxy, the queen's CA where there is one.

use std::time::Duration;

use crate::error::chain;

/// Time for a connection, as the contract has it for a node that does not answer.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that trusts the CA and nothing else, or the system's where there is none.
///
/// # Errors
/// A sentence: the CA is no PEM certificate.
pub fn client(ca_pem: Option<&str>) -> Result<reqwest::Client, String> {
    let mut builder = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_TIMEOUT);
    if let Some(pem) = ca_pem {
        let certificate = reqwest::Certificate::from_pem(pem.as_bytes()).map_err(|e| chain(&e))?;
        builder = builder.tls_certs_only([certificate]);
    }
    builder.build().map_err(|e| chain(&e))
}
