//! Images from files: `docker save` and OCI archives ([`ImageStore::load`]), root file systems ([`ImageStore::import`]).

mod changes;
mod import;
mod load;
mod spool;

pub use import::ImportOptions;

use super::store::Image;

/// An image that was in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub image: Image,
    /// The names it has from the archive, as people write them; empty if it had none.
    pub names: Vec<String>,
}
