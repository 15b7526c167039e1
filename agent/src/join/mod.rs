//! How a hive gets its client: given, by kubeconfig, or by a queen's token that is traded for an identity of its own.

pub mod ca;
mod identity;
mod remote;

use std::sync::Arc;

use kube::{Client, Config as KubeConfig, config::AuthInfo};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{CallerClients, ClientSource},
    paths::DataDir,
};
pub use remote::JoinError;

/// The hive's own client, and how it acts for a caller.
pub struct Access {
    pub client: Client,
    pub callers: CallerClients,
    /// Renews the identity; ends with the token given.
    pub renewal: Option<remote::Renewal>,
}

/// Gets access; waits for a queen that does not answer yet, until `shutdown`.
///
/// # Errors
/// What a wait would not mend: a refused token, another CA, another version.
pub async fn access(
    source: ClientSource,
    hive: &str,
    data: &DataDir,
    shutdown: &CancellationToken,
) -> anyhow::Result<Access> {
    match source {
        ClientSource::Given { client, callers } => Ok(Access { client, callers, renewal: None }),
        ClientSource::Kubernetes(config) => {
            let callers = callers_of(&config)?;
            Ok(Access { client: Client::try_from(*config)?, callers, renewal: None })
        }
        ClientSource::Remote { queen_url, token } => {
            let joined = remote::join(&queen_url, token, hive, data, shutdown).await?;
            let callers = callers_of(&joined.config)?;
            Ok(Access { client: Client::try_from(joined.config)?, callers, renewal: joined.renewal })
        }
    }
}

/// The same server and CA with the bearer of a caller, and nothing of the hive's own identity.
///
/// # Errors
/// None today: what makes a client fail is found when a caller comes.
pub fn callers_of(config: &KubeConfig) -> anyhow::Result<CallerClients> {
    let mut bare = config.clone();
    bare.auth_info = AuthInfo::default();
    Ok(Arc::new(move |bearer: &str| {
        let mut config = bare.clone();
        config.auth_info = bearer_auth(bearer)?;
        Ok(Client::try_from(config)?)
    }))
}

/// Credentials of one bearer token.
fn bearer_auth(token: &str) -> Result<AuthInfo, serde_json::Error> {
    serde_json::from_value(json!({"token": token}))
}
