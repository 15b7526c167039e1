//! The order of hives, the reasons, and that memory is never given twice.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rbee_crds::Backend;

use super::*;

const GB: u64 = 1_000_000_000;

fn hive(name: &str) -> HiveView {
    HiveView {
        name: name.into(),
        ready: true,
        unschedulable: false,
        labels: BTreeMap::new(),
        backends: vec![BackendView { name: Backend::Cpu, devices: vec![device(0, 8 * GB)] }],
        files: BTreeMap::new(),
    }
}

fn device(index: u32, memory_bytes: u64) -> DeviceView {
    DeviceView { index, memory_bytes, free_bytes: None }
}

fn request() -> Request {
    Request {
        worker: "default/story".into(),
        model_uri: "builtin:tinybee".into(),
        model_sha256: None,
        memory_bytes: GB,
        backend: Backend::Cpu,
        device: None,
        hive_name: None,
        hive_selector: BTreeMap::new(),
    }
}

fn placed(worker: &str, hive: &str, memory_bytes: u64) -> Placed {
    Placed { worker: worker.into(), hive: hive.into(), backend: Backend::Cpu, device: 0, memory_bytes, loaded: false }
}

fn on(hive: &str) -> Result<Choice, NoPlace> {
    Ok(Choice { hive: hive.into(), device: 0 })
}

#[test]
fn replicas_spread_then_follow_the_file_then_the_memory_then_the_name() {
    let hives = [hive("a"), hive("b")];
    assert_eq!(place(&request(), &hives, &[]), on("a"));
    assert_eq!(place(&request(), &hives, &[placed("default/story", "a", GB)]), on("b"));
    assert_eq!(place(&request(), &hives, &[placed("default/other", "a", GB)]), on("b"));

    let mut with_file = hive("b");
    with_file.files.insert("builtin:tinybee".into(), FileState::Available { sha256: None });
    let hives = [hive("a"), with_file];
    assert_eq!(place(&request(), &hives, &[placed("default/other", "b", 4 * GB)]), on("b"));
    assert_eq!(place(&request(), &hives, &[placed("default/story", "b", GB)]), on("a"));
}

fn refusal(request: &Request, hives: &[HiveView], placed: &[Placed]) -> (&'static str, String) {
    let no = place(request, hives, placed).expect_err("no place");
    (no.reason, no.message)
}

#[test]
fn every_refusal_says_what_is_missing() {
    assert_eq!(refusal(&request(), &[], &[]).0, "NoHives");

    let named = Request { hive_name: Some("c".into()), ..request() };
    assert_eq!(refusal(&named, &[hive("a")], &[]), ("HiveNotFound", "there is no hive \"c\"; there is a".into()));
    assert_eq!(place(&Request { hive_name: Some("b".into()), ..request() }, &[hive("a"), hive("b")], &[]), on("b"));

    let lost = HiveView { ready: false, ..hive("a") };
    assert_eq!(refusal(&request(), &[lost], &[]), ("HiveNotReady", "hive a is not Ready".into()));
    let cordoned = HiveView { unschedulable: true, ..hive("a") };
    assert_eq!(refusal(&request(), &[cordoned], &[]), ("Unschedulable", "hive a is unschedulable".into()));

    let green = Request { hive_selector: BTreeMap::from([("color".into(), "green".into())]), ..request() };
    assert_eq!(refusal(&green, &[hive("a")], &[]), ("SelectorMismatch", "hive a lacks the label color=green".into()));

    let metal = Request { backend: Backend::Metal, ..request() };
    let expected = ("BackendNotAvailable", "hive a has no backend metal; it has cpu".into());
    assert_eq!(refusal(&metal, &[hive("a")], &[]), expected);

    let second = Request { device: Some(1), ..request() };
    assert_eq!(
        refusal(&second, &[hive("a")], &[]),
        ("DeviceNotAvailable", "hive a has no cpu device 1; it has 0".into())
    );

    let file = Request { model_uri: "file:///m.gguf".into(), ..request() };
    assert_eq!(refusal(&file, &[hive("a")], &[]), ("ModelNotOnHive", "hive a does not have file:///m.gguf".into()));
    let mut broken = hive("a");
    broken.files.insert("file:///m.gguf".into(), FileState::NotAvailable);
    assert_eq!(refusal(&file, &[broken], &[]).0, "ModelNotOnHive");
    let with = |name: &str, sha256: Option<&str>| {
        let state = FileState::Available { sha256: sha256.map(str::to_owned) };
        HiveView { files: BTreeMap::from([("file:///m.gguf".into(), state)]), ..hive(name) }
    };
    let this = Request { model_sha256: Some("aa".into()), ..file };
    assert_eq!(refusal(&this, &[with("a", Some("bb"))], &[]).0, "ModelNotOnHive");
    assert_eq!(refusal(&this, &[with("b", None)], &[]).0, "ModelNotReady");
    assert_eq!(place(&this, &[with("a", Some("bb")), with("b", None), with("c", Some("aa"))], &[]), on("c"));

    let (code, message) = refusal(&request(), &[hive("a")], &[placed("default/x", "a", 8 * GB - 5)]);
    assert_eq!(code, "InsufficientMemory");
    assert!(
        message.starts_with("hive a needs 1000 MB of memory, 0 MB are free") && message.contains("quantization"),
        "{message}"
    );
}

#[test]
fn the_hive_that_came_nearest_gives_the_reason() {
    let hives: Vec<HiveView> =
        (0..9).map(|n| HiveView { ready: n != 3, unschedulable: n == 4, ..hive(&format!("h{n}")) }).collect();
    let huge = Request { memory_bytes: 9 * GB, ..request() };
    let (code, message) = refusal(&huge, &hives, &[]);
    assert_eq!(code, "InsufficientMemory");
    assert!(
        message.starts_with("none of 9 hives fits: hive h0 needs 9000 MB") && message.ends_with("and 4 more"),
        "{message}"
    );
}

#[test]
fn memory_that_others_use_is_not_given_away() {
    let mut busy = hive("a");
    busy.backends[0].devices[0].free_bytes = Some(GB / 2);
    assert_eq!(refusal(&request(), std::slice::from_ref(&busy), &[]).0, "InsufficientMemory");
    busy.backends[0].devices[0].free_bytes = Some(2 * GB);
    let loaded = Placed { loaded: true, ..placed("default/x", "a", 4 * GB) };
    assert_eq!(place(&request(), std::slice::from_ref(&busy), std::slice::from_ref(&loaded)), on("a"));
    let loading = Placed { loaded: false, ..loaded };
    assert_eq!(refusal(&request(), &[busy], &[loading]).0, "InsufficientMemory");
}

#[test]
fn the_device_with_most_free_memory_is_taken() {
    let mut a = hive("a");
    a.backends.push(BackendView {
        name: Backend::Cuda,
        devices: vec![device(0, 4 * GB), device(1, 6 * GB), device(2, 6 * GB)],
    });
    let cuda = Request { backend: Backend::Cuda, ..request() };
    let hives = [a];
    assert_eq!(place(&cuda, &hives, &[]).unwrap().device, 1);
    let taken = Placed { backend: Backend::Cuda, device: 1, ..placed("default/x", "a", GB) };
    assert_eq!(place(&cuda, &hives, &[taken]).unwrap().device, 2);
    assert_eq!(place(&Request { device: Some(0), ..cuda }, &hives, &[]).unwrap().device, 0);
}

fn any_hive() -> impl Strategy<Value = HiveView> {
    let backend = (prop::sample::select(vec![Backend::Cpu, Backend::Cuda]), prop::collection::vec(0u64..16, 0..3));
    (
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.1),
        any::<bool>(),
        any::<bool>(),
        prop::collection::vec(backend, 0..3),
    )
        .prop_map(|(ready, unschedulable, labelled, file, backends)| HiveView {
            ready,
            unschedulable,
            labels: labelled.then(|| ("zone".into(), "x".into())).into_iter().collect(),
            files: file
                .then(|| ("builtin:tinybee".into(), FileState::Available { sha256: None }))
                .into_iter()
                .collect(),
            backends: backends
                .into_iter()
                .map(|(name, memory)| BackendView {
                    name,
                    devices: (0u32..).zip(memory).map(|(index, gb)| device(index, gb * GB)).collect(),
                })
                .collect::<Vec<_>>()
                .into_iter()
                .fold(Vec::new(), |mut unique: Vec<BackendView>, backend| {
                    if unique.iter().all(|b| b.name != backend.name) {
                        unique.push(backend);
                    }
                    unique
                }),
            ..hive("")
        })
}

fn any_hives() -> impl Strategy<Value = Vec<HiveView>> {
    prop::collection::vec(any_hive(), 0..6).prop_map(|hives| {
        hives.into_iter().enumerate().map(|(n, hive)| HiveView { name: format!("h{n}"), ..hive }).collect()
    })
}

fn any_request() -> impl Strategy<Value = Request> {
    (0u64..6, any::<bool>(), prop::option::of(0u32..3), prop::bool::weighted(0.2), "default/[ab]").prop_map(
        |(gb, cuda, device, zone, worker)| Request {
            worker,
            memory_bytes: gb * GB,
            backend: if cuda { Backend::Cuda } else { Backend::Cpu },
            device: if cuda { device } else { None },
            hive_selector: zone.then(|| ("zone".into(), "x".into())).into_iter().collect(),
            ..request()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Places a sequence of requests, each seeing those before it.
    #[test]
    fn no_device_is_ever_oversold(hives in any_hives(), requests in prop::collection::vec(any_request(), 0..20)) {
        let mut all = Vec::new();
        for request in &requests {
            let Ok(choice) = place(request, &hives, &all) else { continue };
            let hive = hives.iter().find(|h| h.name == choice.hive).expect("a hive that exists");
            prop_assert!(hive.ready && !hive.unschedulable);
            prop_assert!(request.hive_selector.iter().all(|(k, v)| hive.labels.get(k) == Some(v)));
            prop_assert!(request.device.is_none_or(|d| d == choice.device));
            all.push(Placed { worker: request.worker.clone(), hive: choice.hive, backend: request.backend, device: choice.device,
                memory_bytes: request.memory_bytes, loaded: false });
        }
        for hive in &hives {
            for backend in &hive.backends {
                for device in &backend.devices {
                    let sold: u64 = all.iter()
                        .filter(|p| p.hive == hive.name && p.backend == backend.name && p.device == device.index)
                        .map(|p| p.memory_bytes).sum();
                    prop_assert!(sold <= device.memory_bytes, "{} {} {}", hive.name, backend.name, device.index);
                }
            }
        }
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(
        hives in any_hives(), others in prop::collection::vec((0usize..6, 0u64..4, any::<bool>()), 0..8), request in any_request(), turn in 0usize..6,
    ) {
        let others: Vec<Placed> = others.iter()
            .map(|(n, gb, same)| placed(if *same { &request.worker } else { "default/z" }, &format!("h{n}"), gb * GB)).collect();
        let expected = place(&request, &hives, &others);
        let (mut hives, mut others) = (hives, others);
        hives.reverse();
        if !hives.is_empty() {
            let middle = turn % hives.len();
            hives.rotate_left(middle);
        }
        others.reverse();
        prop_assert_eq!(place(&request, &hives, &others), expected);
    }

    #[test]
    fn a_refusal_names_every_hive(hives in any_hives(), request in any_request()) {
        if let Err(no) = place(&request, &hives, &[]) {
            prop_assert_eq!(no.hives.len(), hives.len());
            prop_assert!(!no.message.is_empty() && no.reason.chars().all(char::is_alphanumeric));
        }
    }
}
