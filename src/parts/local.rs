//! `rbee infer` with nothing running: every part in this process, objects in memory, until the answer is there.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use rbee_agent::Timing;
use rbee_apiserver::Identity;

use super::{Part, api::Embedded, bind, hive, queen};
use crate::home::{self, Home};

/// A control plane that lives as long as one command.
pub struct Local {
    api: Embedded,
    controllers: Part,
    hive: Part,
    folder: tempfile::TempDir,
}

impl Local {
    /// Starts API server, controllers and hive on free loopback ports; models are kept in the home's cache.
    pub async fn start(home: &Home) -> Result<Self> {
        let models = home.hive().join("models");
        home::private_dir(home.path())?;
        home::private_dir(&models)?;
        let run = home.path().join("run");
        home::private_dir(&run)?;
        let folder = tempfile::Builder::new().prefix("infer-").tempdir_in(&run)?;

        let api = Embedded::in_memory().await?;
        let controllers = queen::controllers(api.client(Identity::system("rbee:queen")), "infer".into());
        let client = hive::in_process(&api, "local")?;
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)), "--hive-listen").await?;
        let timing = Timing { stop_limit: Duration::from_secs(3), ..Timing::default() };
        let config = rbee_agent::Config {
            timing,
            models_dir: Some(models),
            ..hive::config("local".into(), folder.path().into(), client, listener)?
        };
        let hive = Part::start("hive", |stop| rbee_agent::run(config, stop));
        Ok(Self { api, controllers, hive, folder })
    }

    /// A client that may do everything.
    pub fn client(&self) -> kube::Client {
        self.api.client(Identity::system("rbee:infer"))
    }

    /// Ends the worker, then the rest.
    pub async fn stop(self) -> Result<()> {
        let hive = self.hive.stop().await;
        let controllers = self.controllers.stop().await;
        let api = self.api.stop().await;
        drop(self.folder);
        hive.and(controllers).and(api)
    }
}
