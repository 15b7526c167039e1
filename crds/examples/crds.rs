//! Prints the definitions as a JSON List, for `kubectl apply -f -`.
fn main() {
    println!("{}", serde_json::json!({"apiVersion": "v1", "kind": "List", "items": rbee_crds::to_json()}));
}
