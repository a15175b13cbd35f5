//! Trust decisions: who may join, what a certificate may say, when it is renewed.
//!
//! Owns the join token's text form, the rules for issuing and renewing node certificates and the
//! wording of clock-skew problems. Called by the managers' trust service and by joining nodes.
//! Must never touch keys, certificates in DER, files, sockets or the clock: time and random bytes
//! are arguments.

mod admission;
mod base36;
mod gossip_keys;
mod policy;
mod standing;
mod token;
mod validity;

pub use admission::{JoinRefusal, admit};
pub use gossip_keys::{GOSSIP_KEYS_LEARNED, begin_gossip_rotation, continue_gossip_rotation};
pub use policy::{
    CertSpec, IssueRefusal, IssueRequest, KnownNode, Requester, may_issue, organizational_unit, role_of_unit,
};
pub use standing::KnownManagers;
pub use token::{CaDigest, JoinToken, TOKEN_PREFIX, TokenError, TokenSecret};
pub use validity::{
    BACKDATE, ClockSkew, Validity, ValidityError, check_skew, check_validity, renewal_due, renewal_time,
};
