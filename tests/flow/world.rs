//! A world: one API server in memory, a queen who can be killed, hives that can be lost, and a witness.

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams},
    core::NamespaceResourceScope,
};
use rbee_apiserver::{ApiServer, Identity};
use rbee_controller::{Clock, Config};
use rbee_crds::{Model, Worker, names};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    hive::{Happening, Hive, Lost},
    link::{self, Fuse},
    machine::Machine,
    view::View,
    witness::Witness,
};

pub const VERSION: &str = "0.1.0";
/// Virtual time that anything may take.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Virtual time without a write after which a world is at rest.
const REST: Duration = Duration::from_secs(180);

pub struct World {
    server: ApiServer,
    pub client: Client,
    pub clock: Clock,
    pub witness: Witness,
    queen: Option<Queen>,
    hives: BTreeMap<String, Hive>,
    lost: BTreeMap<String, Lost>,
}

struct Queen {
    task: JoinHandle<anyhow::Result<()>>,
    stop: CancellationToken,
    fuse: Fuse,
}

impl World {
    /// An empty world: nobody is there.
    ///
    /// `RBEE_LOG` shows what the parts log, as it does with the executable.
    pub async fn empty() -> Self {
        let filter = tracing_subscriber::EnvFilter::from_env("RBEE_LOG");
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
        let config = rbee_apiserver::Config {
            data_dir: None,
            crds: rbee_crds::all(),
            names: rbee_apiserver::pki::Names::default(),
            version: VERSION.into(),
        };
        let server = ApiServer::open(config).await.expect("a server in memory");
        let client = link::client(server.router_for(Identity::system("test")), Fuse::strong());
        let witness = Witness::start(client.clone());
        let clock = Clock::tokio(Timestamp::now());
        Self { server, client, clock, witness, queen: None, hives: BTreeMap::new(), lost: BTreeMap::new() }
    }

    /// A queen and these hives.
    pub async fn with_hives(names: &[&str]) -> Self {
        let mut world = Self::empty().await;
        world.crown();
        for name in names {
            world.hive(Machine::new(name));
        }
        world
    }

    /// A queen begins.
    pub fn crown(&mut self) {
        self.crown_with(Fuse::strong());
    }

    /// A queen begins who is killed when the fuse blows.
    pub fn crown_with(&mut self, fuse: Fuse) {
        assert!(self.queen.is_none(), "there is a queen");
        let client = link::client(self.server.router_for(Identity::system("rbee:queen")), fuse.clone());
        let config = Config { clock: self.clock.clone(), ..Config::new(client, "queen", VERSION) };
        let stop = CancellationToken::new();
        let task = tokio::spawn(rbee_controller::run(config, stop.clone()));
        self.queen = Some(Queen { task, stop, fuse });
    }

    pub fn has_queen(&self) -> bool {
        self.queen.is_some()
    }

    /// Ends the queen as kill -9 does.
    pub async fn kill_queen(&mut self) {
        let Some(Queen { task, fuse, .. }) = self.queen.take() else { return };
        fuse.blow();
        task.abort();
        assert!(task.await.is_err_and(|e| e.is_cancelled()), "the queen ended by herself");
    }

    /// Ends the queen in good order.
    pub async fn end_queen(&mut self) {
        let Some(Queen { task, stop, .. }) = self.queen.take() else { return };
        stop.cancel();
        task.await.expect("no panic").expect("an orderly end");
    }

    /// Waits until the queen's fuse has blown, at most so long.
    pub async fn queen_dies(&self, within: Duration) -> bool {
        let fuse = &self.queen.as_ref().expect("a queen").fuse;
        tokio::time::timeout(within, fuse.blew()).await.is_ok()
    }

    fn hive_client(&self, name: &str) -> Client {
        link::client(self.server.router_for(Identity::hive(name)), Fuse::strong())
    }

    /// A hive starts on a machine.
    pub fn hive(&mut self, machine: Machine) {
        let name = machine.name.clone();
        let hive = Hive::start(machine, self.hive_client(&name), self.clock.clone());
        assert!(self.hives.insert(name, hive).is_none(), "the hive runs already");
    }

    /// The hive's process vanishes; its workers live on.
    pub async fn lose(&mut self, name: &str) {
        if let Some(hive) = self.hives.remove(name) {
            self.lost.insert(name.into(), hive.lose().await);
        }
    }

    /// A hive that was lost starts again.
    pub fn back(&mut self, name: &str) {
        if let Some(lost) = self.lost.remove(name) {
            let hive = lost.back(self.hive_client(name), self.clock.clone());
            self.hives.insert(name.into(), hive);
        }
    }

    pub fn lost(&self) -> Vec<String> {
        self.lost.keys().cloned().collect()
    }

    /// Something happens on a hive that runs; on a lost one nothing does.
    pub async fn happens(&self, hive: &str, happening: Happening) {
        if let Some(hive) = self.hives.get(hive) {
            hive.happens(happening).await;
        }
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::default_namespaced(self.client.clone())
    }

    /// What `rbee apply` does with a Model.
    pub async fn model(&self, name: &str, spec: Value) {
        self.apply::<Model>("Model", name, spec).await;
    }

    /// What `rbee apply` does with a Worker.
    pub async fn worker(&self, name: &str, spec: Value) {
        self.apply::<Worker>("Worker", name, spec).await;
    }

    async fn apply<K>(&self, kind: &str, name: &str, spec: Value)
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let object = json!({"apiVersion": "rbee.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        let params = PatchParams::apply("rbee").force();
        self.api::<K>().patch(name, &params, &Patch::Apply(object)).await.expect("it is applied");
    }

    pub async fn delete<K>(&self, name: &str)
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        match self.api::<K>().delete(name, &DeleteParams::background()).await {
            Ok(_) => {}
            Err(kube::Error::Api(refusal)) if refusal.code == 404 => {}
            Err(error) => panic!("{name} is not deleted: {error}"),
        }
    }

    pub async fn look(&self) -> View {
        View::look(&self.client).await
    }

    /// The leader's epoch.
    pub async fn epoch(&self) -> Option<i32> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), names::SYSTEM_NAMESPACE);
        leases.get_opt(names::QUEEN_LEASE).await.expect("an answer")?.spec?.lease_transitions
    }

    /// Looks until it holds; fails with what was seen last.
    #[track_caller]
    pub fn until<'a>(
        &'a self,
        what: &'a str,
        holds: impl Fn(&View) -> Result<(), String> + 'a,
    ) -> impl Future<Output = View> + 'a {
        let place = std::panic::Location::caller();
        async move {
            let deadline = Instant::now() + PATIENCE;
            loop {
                let view = self.look().await;
                match holds(&view) {
                    Ok(()) => return view,
                    Err(other) if Instant::now() >= deadline => panic!("{place}: {what}: still {other}"),
                    Err(_) => sleep(Duration::from_millis(500)).await,
                }
            }
        }
    }

    /// The Worker has so many Ready replicas and nothing else.
    #[track_caller]
    pub fn settled<'a>(&'a self, worker: &'a str, wanted: usize) -> impl Future<Output = View> + 'a {
        self.until("settled", move |view| view.settled(worker, wanted))
    }

    /// Every scenario's end: the world is legal, nothing is written any more, and a queen who begins anew writes nothing either.
    pub async fn comes_to_rest(&mut self) {
        self.rests().await;
        let before = self.look().await.versions();
        self.kill_queen().await;
        let epoch = self.epoch().await;
        self.crown();
        let deadline = Instant::now() + PATIENCE;
        while self.epoch().await == epoch {
            assert!(Instant::now() < deadline, "the queen who began anew never leads");
            sleep(Duration::from_secs(1)).await;
        }
        sleep(REST).await;
        self.expect_unchanged(&before, "a queen who begins anew wrote").await;
        self.end_queen().await;
    }

    async fn rests(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let before = self.look().await.versions();
            sleep(REST).await;
            let view = self.look().await;
            if view.versions() != before {
                if Instant::now() >= deadline {
                    self.expect_unchanged(&before, "the world does not come to rest").await;
                }
                continue;
            }
            let mut broken = view.broken_rules();
            broken.extend(self.witness.broken_rules());
            assert!(broken.is_empty(), "a world that is not legal: {broken:#?}");
            return;
        }
    }

    async fn expect_unchanged(&self, before: &BTreeMap<String, String>, what: &str) {
        let after = self.look().await.versions();
        let differs = |a: &BTreeMap<String, String>, b: &BTreeMap<String, String>| {
            a.iter().filter(|(k, v)| b.get(*k) != Some(v)).map(|(k, v)| format!("{k}: {v}")).collect::<Vec<_>>()
        };
        let (gone, come) = (differs(before, &after), differs(&after, before));
        assert!(gone.is_empty() && come.is_empty(), "{what}: before {gone:#?} after {come:#?}");
    }
}
