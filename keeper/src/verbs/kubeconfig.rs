//! `rbee kubeconfig`: a kubeconfig for kubectl and every other Kubernetes client.

use crate::{
    context::Context,
    error::{Error, Exit},
    target::{ConnectArgs, NamespaceArg, connect, kubeconfig_for},
};

#[derive(Clone, Debug, clap::Args)]
pub struct KubeconfigArgs {
    #[command(flatten)]
    pub namespace: NamespaceArg,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Prints it.
///
/// # Errors
/// No queen, or one whose CA and token are not at hand.
pub async fn run(args: &KubeconfigArgs, context: &Context) -> Result<Exit, Error> {
    let target = connect(&args.connect, context).await?;
    let (Some(ca), Some(token)) = (&target.ca_pem, &target.token) else {
        return Err(Error::failed(format!("{} has a kubeconfig already: the one it was named by", target.name)));
    };
    let namespace = args.namespace.namespace.as_deref().unwrap_or(&target.namespace);
    context.out.text(&rbee_yaml::to_string(&kubeconfig_for(&target.url, ca, token, namespace)))?;
    Ok(Exit::Done)
}
