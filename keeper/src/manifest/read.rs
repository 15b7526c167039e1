//! Reading manifests from files, folders and `-`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::object::{Item, objects};
use crate::{error::Error, streams::Input};

const ENDINGS: [&str; 3] = ["json", "yaml", "yml"];

/// Flags that name manifests.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FileArgs {
    /// File or folder with manifests, or - for stdin
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    pub filename: Vec<PathBuf>,
    /// Folders below a folder too
    #[arg(short = 'R', long)]
    pub recursive: bool,
}

/// All objects of all files. Everything is read before anything is returned.
///
/// # Errors
/// [`Error::Failed`] with a line per problem: a file that cannot be read, YAML that is none, a document that is no object.
pub fn read_all(args: &FileArgs, input: &Input) -> Result<Vec<Item>, Error> {
    let mut items = Vec::new();
    let mut wrong = Vec::new();
    for path in &args.filename {
        match texts(path, args.recursive, input) {
            Err(problem) => wrong.push(problem),
            Ok(texts) => {
                for (name, text) in texts {
                    match parse(&name, &text) {
                        Ok(found) => items.extend(found),
                        Err(problems) => wrong.extend(problems),
                    }
                }
            }
        }
    }
    if !wrong.is_empty() {
        return Err(Error::failed(format!("{}; nothing was done", wrong.join("\nerror: "))));
    }
    if items.is_empty() {
        let names: Vec<String> = args.filename.iter().map(|p| p.display().to_string()).collect();
        return Err(Error::failed(format!("no objects in {}", names.join(", "))));
    }
    Ok(items)
}

fn parse(name: &str, text: &str) -> Result<Vec<Item>, Vec<String>> {
    let documents = rbee_yaml::parse_documents(text, name).map_err(|e| vec![e.to_string()])?;
    let file: Arc<str> = name.into();
    let mut items = Vec::new();
    let mut wrong = Vec::new();
    for document in documents {
        match objects(document, &file) {
            Ok(found) => items.extend(found),
            Err(problems) => wrong.extend(problems.iter().map(ToString::to_string)),
        }
    }
    if wrong.is_empty() { Ok(items) } else { Err(wrong) }
}

/// Names and contents of the files behind one argument.
fn texts(path: &Path, recursive: bool, input: &Input) -> Result<Vec<(String, String)>, String> {
    if path.as_os_str() == "-" {
        let text = input.read_to_end(rbee_yaml::limits::TEXT_BYTES).map_err(|e| format!("cannot read stdin: {e}"))?;
        return Ok(vec![("stdin".into(), text)]);
    }
    let failed = |path: &Path, e: std::io::Error| format!("cannot read {}: {e}", path.display());
    let about = fs::metadata(path).map_err(|e| failed(path, e))?;
    let mut files = Vec::new();
    if about.is_dir() {
        collect(path, recursive, &mut files).map_err(|e| failed(path, e))?;
        if files.is_empty() {
            let endings = ENDINGS.map(|e| format!(".{e}")).join(", ");
            return Err(format!("{}: no files that end in {endings}", path.display()));
        }
    } else {
        files.push(path.to_owned());
    }
    files
        .into_iter()
        .map(|file| {
            let size = fs::metadata(&file).map_err(|e| failed(&file, e))?.len();
            if size > rbee_yaml::limits::TEXT_BYTES as u64 {
                return Err(format!("{}: {size} bytes are more than a manifest may have", file.display()));
            }
            let bytes = fs::read(&file).map_err(|e| failed(&file, e))?;
            let text = String::from_utf8(bytes).map_err(|_| format!("{}: it is no UTF-8 text", file.display()))?;
            Ok((file.display().to_string(), text))
        })
        .collect()
}

/// The manifests of a folder in the order of their names.
fn collect(folder: &Path, recursive: bool, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if recursive {
                collect(&path, recursive, files)?;
            }
        } else if path.extension().and_then(|e| e.to_str()).is_some_and(|e| ENDINGS.contains(&e)) {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str =
        "apiVersion: rbee.dev/v1alpha1\nkind: Model\nmetadata:\n  name: m\nspec:\n  uri: builtin:tinybee\n";

    fn args(path: &Path, recursive: bool) -> FileArgs {
        FileArgs { filename: vec![path.to_owned()], recursive }
    }

    #[test]
    fn a_folder_is_read_in_order_and_deeper_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        for name in ["b.yaml", "a.yml", "sub/c.json", "notes.txt"] {
            let text = MODEL.replace("name: m", &format!("name: {}", &name.replace(['.', '/'], "-")));
            let text = if name.ends_with("json") {
                serde_json::to_string(&rbee_yaml::parse_documents(&text, "").unwrap()[0].value).unwrap()
            } else {
                text
            };
            fs::write(folder.path().join(name), text).unwrap();
        }
        let names = |recursive| -> Vec<String> {
            let items = read_all(&args(folder.path(), recursive), &Input::Text(String::new())).unwrap();
            items.iter().map(|i| i.name().to_owned()).collect()
        };
        assert_eq!(names(false), ["a-yml", "b-yaml"]);
        assert_eq!(names(true), ["a-yml", "b-yaml", "sub-c-json"]);
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("1.yaml"), MODEL).unwrap();
        fs::write(folder.path().join("2.yaml"), format!("{MODEL}  uri: twice\n")).unwrap();
        fs::write(folder.path().join("3.yaml"), MODEL.replace("  name: m\n", "  x: y\n")).unwrap();
        let text = read_all(&args(folder.path(), false), &Input::Text(String::new())).unwrap_err().to_string();
        assert!(text.contains("2.yaml:7:") && text.contains("duplicate"), "{text}");
        assert!(text.contains("3.yaml:3: metadata.name"), "{text}");
        assert!(text.ends_with("nothing was done"), "{text}");
        let gone = read_all(&args(&folder.path().join("gone"), false), &Input::Text(String::new())).unwrap_err();
        assert!(gone.to_string().contains("gone"), "{gone}");
    }

    #[test]
    fn a_dash_is_stdin() {
        let args = FileArgs { filename: vec!["-".into()], recursive: false };
        assert_eq!(read_all(&args, &Input::Text(MODEL.into())).unwrap()[0].place("spec.uri"), "stdin:6");
        assert!(read_all(&args, &Input::Text("# nothing\n".into())).is_err());
    }
}
