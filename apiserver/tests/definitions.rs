//! The project's own definitions are structural, and an object of each is pruned and defaulted without a loss.

use std::path::Path;

use rbee_apiserver::schema::{Structural, join_messages};
use rbee_apiserver::table::Columns;

#[test]
fn the_definitions_in_manifests_compile() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/crds");
    let mut versions = 0;
    for entry in std::fs::read_dir(&folder).expect("manifests/crds") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a file");
        let name = path.display().to_string();
        for document in rbee_yaml::parse_documents(&text, &name).expect("YAML") {
            for version in document.value["spec"]["versions"].as_array().expect("versions") {
                let schema = &version["schema"]["openAPIV3Schema"];
                if let Err(errors) = Structural::compile(schema) {
                    panic!("{name}: {}", join_messages(&errors));
                }
                Columns::from_crd(version.get("additionalPrinterColumns")).unwrap_or_else(|e| panic!("{name}: {e}"));
                versions += 1;
            }
        }
    }
    assert!(versions > 0, "no definitions in {}", folder.display());
}
