//! The administrator's token: a file for the owner of the data dir alone, and the Secret that lets it in.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rbee_wire::token::Token;
use serde_json::json;

use super::identity::Role;
use super::tokens;
use crate::db::{Change, Db, Expect, Key, WriteError};

/// The file's name in the data dir.
pub const FILE: &str = "admin.token";

/// Why there is no administrator's token.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The file system said no.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The store said no.
    #[error("cannot store the administrator's token")]
    Store(#[from] WriteError),
    /// A token could not be put together.
    #[error("cannot make the administrator's token")]
    Token(#[from] rbee_wire::token::TokenError),
}

/// The token in `folder`, made at the first start and again when the file is gone or is of another CA.
///
/// The file is written before the Secret: a crash between the two leaves a token that the next start lets in, never a Secret
/// whose token nobody has. Blocks on a few small files.
pub async fn ensure(db: &Db, folder: &Path, ca_sha256: [u8; 32]) -> Result<Token, AdminError> {
    let path = folder.join(FILE);
    let token = match read(&path)?.filter(|token| *token.ca_sha256() == ca_sha256) {
        Some(token) => token,
        None => {
            let id = format!("admin-{}", hex::encode(rand::random::<[u8; 4]>()));
            let token = Token::mint(ca_sha256, &id, rand::random())?;
            write(&path, token.reveal()).map_err(io_error("write", &path))?;
            token
        }
    };
    let key = Key::new("secrets", tokens::NAMESPACE, tokens::secret_name(token.id()));
    let now = jiff::Timestamp::now();
    let find = |_: &str| db.get(&key).map(|object| object.value().clone());
    let let_in = tokens::authenticate(token.reveal(), now, find).is_ok_and(|who| *who.role() == Role::Admin);
    if !let_in {
        let mut secret = tokens::secret(&token, &Role::Admin, None, None);
        secret["metadata"]["uid"] = json!(uuid::Uuid::new_v4());
        secret["metadata"]["creationTimestamp"] = json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        db.write(key, Expect::Any, Change::Put(secret)).await?;
    }
    Ok(token)
}

/// None when there is no file, or no token in it. A file that others may read is closed to them.
fn read(path: &Path) -> Result<Option<Token>, AdminError> {
    match fs::read_to_string(path) {
        Ok(text) => {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))
                .map_err(io_error("set the permissions of", path))?;
            Ok(Token::parse(&text).ok())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

/// Writes aside, syncs, renames.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let aside = path.with_extension("part");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    File::open(folder)?.sync_all()
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> AdminError + 'a {
    move |source| AdminError::Io { action, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    fn secrets(db: &Db) -> usize {
        db.list("secrets", Some(tokens::NAMESPACE)).items.len()
    }

    #[tokio::test]
    async fn the_token_is_made_once_and_let_in_as_administrator() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(MemoryStore).await.unwrap();
        let first = ensure(&db, folder.path(), [1; 32]).await.unwrap();
        let again = ensure(&db, folder.path(), [1; 32]).await.unwrap();
        assert_eq!(first.reveal(), again.reveal());
        assert_eq!((secrets(&db), db.revision()), (1, 1));
        let path = folder.path().join(FILE);
        assert_eq!(fs::read_to_string(&path).unwrap().trim(), first.reveal());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let find = |name: &str| {
            let key = Key::new("secrets", tokens::NAMESPACE, name);
            db.get(&key).map(|object| object.value().clone())
        };
        let who = tokens::authenticate(first.reveal(), jiff::Timestamp::now(), find).unwrap();
        assert_eq!(*who.role(), Role::Admin);
        let stored = db.list("secrets", None).items[0].value().to_string();
        assert!(!stored.contains(first.reveal()));
    }

    #[tokio::test]
    async fn a_store_that_lost_the_secret_lets_the_same_token_in_again() {
        let folder = tempfile::tempdir().unwrap();
        let first = ensure(&Db::open(MemoryStore).await.unwrap(), folder.path(), [1; 32]).await.unwrap();
        let empty = Db::open(MemoryStore).await.unwrap();
        assert_eq!(ensure(&empty, folder.path(), [1; 32]).await.unwrap().reveal(), first.reveal());
        assert_eq!(secrets(&empty), 1);
    }

    #[tokio::test]
    async fn another_authority_or_a_broken_file_makes_another_token() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(MemoryStore).await.unwrap();
        let first = ensure(&db, folder.path(), [1; 32]).await.unwrap();
        let second = ensure(&db, folder.path(), [2; 32]).await.unwrap();
        assert_ne!(first.reveal(), second.reveal());
        fs::write(folder.path().join(FILE), "broken").unwrap();
        let third = ensure(&db, folder.path(), [2; 32]).await.unwrap();
        assert_ne!(second.reveal(), third.reveal());
        assert_eq!(*third.ca_sha256(), [2; 32]);
    }
}
