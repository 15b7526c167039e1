//! `rbee up`: queen and hive in one process.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;

use super::{
    hive,
    queen::{QueenParts, Standalone},
};
use crate::{
    cli::{self, HiveCommon, QueenListen},
    home::{self, Home},
    signals,
};

/// Runs until it is asked to end or a part of it fails.
pub async fn run(args: cli::Up, home: &Home) -> Result<ExitCode> {
    run_with(args.listen, args.hive, home.hive(), home).await
}

/// The same with the hive's data in `hive_folder`.
pub async fn run_with(
    listen: QueenListen,
    hive_args: HiveCommon,
    hive_folder: PathBuf,
    home: &Home,
) -> Result<ExitCode> {
    let shutdown = signals::shutdown()?;
    let mut queen = QueenParts::standalone(home, home.queen(), &listen).await?;
    home::private_dir(&hive_folder)?;
    let Some(Standalone { embedded, .. }) = &queen.api else { anyhow::bail!("a standalone queen has an API server") };
    let client = hive::in_process(embedded, &hive::name(&hive_args)?)?;
    let mut hive = hive::start(&hive_args, hive_folder, client).await?;

    let failure = tokio::select! {
        () = shutdown.cancelled() => None,
        error = queen.ended() => Some(error),
        error = hive.ended() => {
            queen.stop().await?;
            return Err(error);
        }
    };
    // The hive first: it drains its workers and says so, through the API that is still there.
    let stopped = hive.stop().await;
    match failure {
        Some(error) => {
            queen.abandon();
            Err(error)
        }
        None => stopped.and(queen.stop().await).map(|()| ExitCode::SUCCESS),
    }
}
