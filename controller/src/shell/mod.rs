//! What keeps the controllers going: set-up, leadership, watches, wake-ups, and an orderly end.

mod controllers;
mod feed;
mod leader;
mod setup;
mod wake;

use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// Runs the queen's controllers until `shutdown`: waits for the kinds to be installed, leads while she holds the lease, and gives
/// the lease up at the end. Waiting, losing the lease and an API server that is away are no errors.
///
/// # Errors
/// Only if a controller ends by itself, which is a defect.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    if setup::prepare(&config, &shutdown).await.is_none() {
        return Ok(());
    }
    let resign = CancellationToken::new();
    let _resign_on_return = resign.clone().drop_guard();
    let (campaign, mut lead) = leader::Campaign::new(&config);
    let campaign = tokio::spawn(campaign.run(resign.clone()));
    let outcome = loop {
        let Some(term) = leader::elected(&mut lead, &shutdown).await else { break Ok(()) };
        tracing::info!(identity = config.identity, epoch = term.epoch, "leading");
        let stop = shutdown.child_token();
        let controllers = controllers::run(&config, term.epoch, lead.clone(), stop.clone());
        tokio::pin!(controllers);
        let ended = tokio::select! {
            ended = &mut controllers => ended,
            () = leader::deposed(lead.clone(), term.epoch) => {
                tracing::warn!(epoch = term.epoch, "the leader lease is lost; the controllers stop");
                stop.cancel();
                controllers.await
            }
        };
        if ended.is_err() || shutdown.is_cancelled() {
            break ended;
        }
    };
    resign.cancel();
    campaign.await?;
    outcome
}
