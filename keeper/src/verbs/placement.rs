//! `rbee explain-placement`: where a Worker's next replica would go now, and why not to the other hives.

use kube::{Api, api::ListParams};
use rbee_crds::{Assignment, Hive, Model, Worker};
use rbee_placement::{HiveView, NoPlace, Placed, Request, memory_need, place};

use crate::{
    context::Context,
    error::{Error, Exit},
    manifest::{FileArgs, read_all},
    names::{self, Named},
    print::table::simple,
    target::{ConnectArgs, NamespaceArg, connect},
    verbs::models::bytes,
};

#[derive(Clone, Debug, clap::Args)]
pub struct PlacementArgs {
    /// worker/NAME
    #[arg(value_name = "worker/NAME")]
    pub objects: Vec<String>,
    #[command(flatten)]
    pub files: FileArgs,
    #[command(flatten)]
    pub namespace: NamespaceArg,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Prints the choice and the refusals. Exit 1 where there is no place.
///
/// # Errors
/// Wrong usage, a Worker or Model that is not there, a server that refuses or does not answer.
pub async fn run(args: &PlacementArgs, context: &Context) -> Result<Exit, Error> {
    if args.files.filename.is_empty() == args.objects.is_empty() {
        return Err(Error::usage("name either worker/NAME or a manifest with -f"));
    }
    let from_files = match args.files.filename.is_empty() {
        true => Vec::new(),
        false => read_all(&args.files, &context.input)?,
    };
    let target = connect(&args.connect, context).await?;
    let namespace = args.namespace.namespace.clone().unwrap_or_else(|| target.namespace.clone());
    let mut workers: Vec<Worker> = Vec::new();
    for item in from_files.iter().filter(|i| i.kind() == "Worker") {
        let read = serde_json::from_value(item.value.clone());
        workers.push(read.map_err(|e| Error::failed(format!("{}: {}: {e}", item.place("spec"), item.title())))?);
    }
    if !args.objects.is_empty() {
        let api: Api<Worker> = Api::namespaced(target.client.clone(), &namespace);
        for name in worker_names(&args.objects)? {
            workers.push(api.get(&name).await?);
        }
    }
    if workers.is_empty() {
        return Err(Error::failed("there is no Worker in the manifests"));
    }
    let hives: Vec<Hive> = Api::all(target.client.clone()).list(&ListParams::default()).await?.items;
    let placed: Vec<Assignment> = Api::all(target.client.clone()).list(&ListParams::default()).await?.items;
    let views: Vec<HiveView> = hives.iter().map(HiveView::from).collect();
    let placed: Vec<Placed> = placed.iter().map(Placed::from).collect();
    let mut exit = Exit::Done;
    for worker in &workers {
        let namespace = worker.metadata.namespace.as_deref().unwrap_or(&namespace);
        let model = model_of(&target.client, namespace, worker, &from_files).await?;
        let request = request(worker, namespace, &model).map_err(Error::Failed)?;
        let (text, has_place) = explain(&request, &views, &placed);
        context.out.text(&text)?;
        if !has_place {
            exit = Exit::Failed;
        }
    }
    Ok(exit)
}

fn worker_names(words: &[String]) -> Result<Vec<String>, Error> {
    match names::parse(words).map_err(Error::Usage)? {
        Named::Objects(objects) if objects.iter().all(|(k, _)| k.starts_with("worker") || k == "wkr") => {
            Ok(objects.into_iter().map(|(_, name)| name).collect())
        }
        _ => Err(Error::usage("only Workers are placed: name worker/NAME")),
    }
}

/// The Worker's Model: of the manifests, else of the server.
async fn model_of(
    client: &kube::Client,
    namespace: &str,
    worker: &Worker,
    manifests: &[crate::manifest::Item],
) -> Result<Model, Error> {
    let name = &worker.spec.model_ref.name;
    let api: Api<Model> = Api::namespaced(client.clone(), namespace);
    if let Some(model) = api.get_opt(name).await? {
        return Ok(model);
    }
    let written = manifests.iter().find(|i| i.kind() == "Model" && i.name() == name.as_str());
    let written = written.and_then(|item| serde_json::from_value(item.value.clone()).ok());
    written.ok_or_else(|| Error::failed(format!("model {name:?} not found in namespace {namespace:?}")))
}

fn request(worker: &Worker, namespace: &str, model: &Model) -> Result<Request, String> {
    let spec = &worker.spec;
    let gguf = model.status.as_ref().and_then(|s| s.gguf.clone()).unwrap_or_default();
    Ok(Request {
        worker: format!("{namespace}/{}", worker.metadata.name.as_deref().unwrap_or_default()),
        model_uri: model.spec.uri.clone(),
        model_sha256: model.spec.sha256.clone(),
        memory_bytes: memory_need(spec, &gguf).map_err(|e| format!("spec.resources.memory: {e}"))?,
        backend: spec.backend(),
        device: spec.device.and_then(|d| u32::try_from(d).ok()),
        hive_name: spec.hive_name.clone(),
        hive_selector: spec.hive_selector.clone().map(|s| s.match_labels).unwrap_or_default(),
    })
}

/// The explanation, and whether there is a place. Every hive is asked alone for its own refusal.
fn explain(request: &Request, hives: &[HiveView], placed: &[Placed]) -> (String, bool) {
    let need = i64::try_from(request.memory_bytes).unwrap_or(i64::MAX);
    let mut text =
        format!("worker {}: {} needs {} on {}\n", request.worker, request.model_uri, bytes(need), request.backend);
    let choice = place(request, hives, placed);
    let rows: Vec<Vec<String>> = hives
        .iter()
        .map(|hive| {
            let verdict = match place(request, std::slice::from_ref(hive), placed) {
                Ok(fit) if choice.as_ref().is_ok_and(|c| c.hive == fit.hive) => {
                    format!("the next replica goes here, device {}", fit.device)
                }
                Ok(_) => "would do, another comes first".into(),
                Err(NoPlace { hives, message, .. }) => hives.get(&hive.name).map_or(message, ToString::to_string),
            };
            vec![hive.name.clone(), verdict]
        })
        .collect();
    text.push_str(&simple(&["HIVE", "VERDICT"], &rows));
    if let Err(none) = &choice {
        text.push_str(&format!("no place: {} ({})\n", none.message, none.reason));
    }
    (text, choice.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rbee_crds::Backend;
    use rbee_placement::{BackendView, DeviceView};

    fn hive(name: &str, backend: Backend) -> HiveView {
        let device = DeviceView { index: 0, memory_bytes: 1 << 34, free_bytes: Some(1 << 34) };
        HiveView {
            name: name.into(),
            ready: true,
            unschedulable: false,
            labels: Default::default(),
            backends: vec![BackendView { name: backend, devices: vec![device] }],
            files: Default::default(),
        }
    }

    #[test]
    fn each_hive_has_its_verdict() {
        let request = Request {
            worker: "default/w".into(),
            model_uri: "builtin:tinybee".into(),
            model_sha256: None,
            memory_bytes: 1 << 20,
            backend: Backend::Cpu,
            device: None,
            hive_name: None,
            hive_selector: Default::default(),
        };
        let hives = [hive("a", Backend::Cpu), hive("b", Backend::Cpu), hive("c", Backend::Metal)];
        let (text, has_place) = explain(&request, &hives, &[]);
        assert!(has_place);
        for word in ["the next replica goes here", "would do, another comes first", "has no backend cpu"] {
            assert!(text.contains(word), "{word:?} in {text}");
        }
        let (text, has_place) = explain(&request, &hives[2..], &[]);
        assert!(!has_place && text.contains("BackendNotAvailable"), "{text}");
    }
}
