//! Before anything is watched: the kinds are installed and the system namespace exists.

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Resource,
    api::{ListParams, ObjectMeta, PostParams},
};
use rbee_crds::{Assignment, Hive, Model, Worker};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// What is missing.
#[derive(Debug, thiserror::Error)]
enum Missing {
    #[error("the API server does not know {0}.rbee.dev: install the kinds with `rbee crds | kubectl apply -f -`")]
    Kind(String),
    #[error("the API server does not answer as it should")]
    Api(#[source] kube::Error),
}

/// Waits until everything is there; nothing if `shutdown` comes first.
pub async fn prepare(config: &Config, shutdown: &CancellationToken) -> Option<()> {
    let mut told = String::new();
    loop {
        let attempt = tokio::select! {
            attempt = look(config) => attempt,
            () = shutdown.cancelled() => return None,
        };
        let Err(missing) = attempt else { return Some(()) };
        let text = chain(&missing);
        if text != told {
            tracing::error!(again_in = ?config.periods.setup_retry, "{text}");
            told = text;
        }
        tokio::select! {
            () = tokio::time::sleep(config.periods.setup_retry) => {}
            () = shutdown.cancelled() => return None,
        }
    }
}

/// An error and what caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

async fn look(config: &Config) -> Result<(), Missing> {
    let client = &config.client;
    knows::<Model>(client).await?;
    knows::<Worker>(client).await?;
    knows::<Assignment>(client).await?;
    knows::<Hive>(client).await?;
    namespace(client, &config.system_namespace).await
}

async fn knows<K>(client: &Client) -> Result<(), Missing>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    match Api::<K>::all(client.clone()).list(&ListParams::default().limit(1)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Err(Missing::Kind(K::plural(&()).into_owned())),
        Err(error) => Err(Missing::Api(error)),
    }
}

async fn namespace(client: &Client, name: &str) -> Result<(), Missing> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    match namespaces.get_opt(name).await {
        Ok(Some(_)) => return Ok(()),
        Ok(None) => {}
        // With Helm the release's namespace is there, and to look at namespaces is not allowed.
        Err(kube::Error::Api(status)) if status.code == 403 => return Ok(()),
        Err(error) => return Err(Missing::Api(error)),
    }
    let namespace = Namespace {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        ..Namespace::default()
    };
    match namespaces.create(&PostParams::default(), &namespace).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(Missing::Api(error)),
    }
}
