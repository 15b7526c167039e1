//! One command at one server: the connection, the server's kinds, the namespace, and finding the objects that were named.

use serde_json::Value;

use crate::{
    context::Context,
    error::Error,
    names::{Named, SelectArgs},
    server::{Catalog, Resource, Server, discover::discover},
    target::{ConnectArgs, NamespaceArg, Target, connect},
};

/// A command that has found its server.
pub struct Session {
    pub context: Context,
    pub target: Target,
    pub server: Server,
    pub catalog: Catalog,
    pub namespace: String,
}

/// An object that was found, and its kind.
#[derive(Clone, Debug)]
pub struct Found {
    pub resource: Resource,
    pub object: Value,
}

impl Found {
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub fn namespace(&self) -> Option<&str> {
        self.object["metadata"]["namespace"].as_str()
    }

    /// `worker.rbee.dev/story`
    pub fn title(&self) -> String {
        format!("{}/{}", self.resource.qualified(), self.name())
    }
}

impl Session {
    /// Finds the server and reads which kinds it has.
    ///
    /// # Errors
    /// Those of [`connect`], and a server that does not answer.
    pub async fn open(connection: &ConnectArgs, namespace: &NamespaceArg, context: &Context) -> Result<Self, Error> {
        let target = connect(connection, context).await?;
        let server = target.server();
        let catalog = discover(&server).await?;
        let namespace = namespace.namespace.clone().unwrap_or_else(|| target.namespace.clone());
        Ok(Self { context: context.clone(), target, server, catalog, namespace })
    }

    /// The kind that a word stands for.
    ///
    /// # Errors
    /// A kind that the server does not have.
    pub fn resource(&self, word: &str) -> Result<&Resource, Error> {
        self.catalog.find(word).ok_or_else(|| unknown(word))
    }

    /// The kinds that words stand for, categories included.
    ///
    /// # Errors
    /// A kind that the server does not have.
    pub fn resources(&self, words: &[String]) -> Result<Vec<&Resource>, Error> {
        let mut found = Vec::new();
        for word in words {
            match self.catalog.expand(word) {
                list if list.is_empty() => return Err(unknown(word)),
                list => found.extend(list),
            }
        }
        Ok(found)
    }

    /// The namespace for a kind: none where it knows none.
    pub fn namespace_for(&self, resource: &Resource) -> Option<&str> {
        resource.namespaced.then_some(self.namespace.as_str())
    }

    /// The objects that a command line names, and an error for each that is not there.
    ///
    /// # Errors
    /// A kind that the server does not have, or a server that refuses to list.
    pub async fn find(&self, named: &Named, select: &SelectArgs) -> Result<(Vec<Found>, Vec<Error>), Error> {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        match named {
            Named::Kinds(kinds) => {
                for resource in self.resources(kinds)? {
                    let list = self.server.list(resource, self.namespace_for(resource), &select.pairs(), false).await?;
                    for object in items_of(&list) {
                        found.push(Found { resource: resource.clone(), object });
                    }
                }
            }
            Named::Objects(objects) => {
                for (kind, name) in objects {
                    let resource = self.resource(kind)?;
                    match self.server.get(resource, self.namespace_for(resource), name).await {
                        Ok(object) => found.push(Found { resource: resource.clone(), object }),
                        Err(error @ Error::Server(_)) => missing.push(error),
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok((found, missing))
    }
}

fn unknown(word: &str) -> Error {
    Error::failed(format!("the server doesn't have a resource type {word:?}; `rbee api-resources` lists those it has"))
}

/// The items of a list, each with its apiVersion and kind.
pub fn items_of(list: &Value) -> Vec<Value> {
    let api_version = &list["apiVersion"];
    let kind = list["kind"].as_str().and_then(|k| k.strip_suffix("List")).unwrap_or_default();
    let mut items = list["items"].as_array().cloned().unwrap_or_default();
    for item in &mut items {
        if item["kind"].is_null() {
            item["apiVersion"] = api_version.clone();
            item["kind"] = kind.into();
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn items_get_the_kind_of_their_list() {
        let list = json!({"apiVersion": "v1", "kind": "EventList", "items": [{"metadata": {"name": "a"}}, {"apiVersion": "x/v1", "kind": "Y"}]});
        let items = items_of(&list);
        assert_eq!((&items[0]["kind"], &items[0]["apiVersion"]), (&json!("Event"), &json!("v1")));
        assert_eq!(items[1]["kind"], "Y");
    }
}
