//! The machinery of conversion: one trait, its scalars and containers, and the macros that make it of
//! structs and enums by naming each field once.

use ipnet::{IpNet, Ipv4Net};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use swarm_core::{ClusterId, ConfigId, NetworkId, NodeId, SecretId, Sensitive, ServiceId, TaskId, WallTime};

/// A message that is not what this version of the binary expects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field that must be there is not.
    #[error("field {0} is missing")]
    Missing(&'static str),
    /// A value outside what this binary knows.
    #[error("{what} has the unknown value {value}: is another version of swarm running?")]
    Unknown { what: &'static str, value: i64 },
    /// A text or bytes of the wrong form.
    #[error("{what} is malformed: {value:?}")]
    Malformed { what: &'static str, value: String },
    /// Not protobuf at all.
    #[error("not a valid message: {0}")]
    Decode(String),
}

impl From<prost::DecodeError> for WireError {
    fn from(error: prost::DecodeError) -> Self {
        WireError::Decode(error.to_string())
    }
}

/// A core type and its form on the wire.
pub trait Wire: Sized {
    /// The generated type.
    type Pb;
    /// To the wire; cannot fail.
    fn to_wire(&self) -> Self::Pb;
    /// From the wire.
    fn from_wire(pb: Self::Pb) -> Result<Self, WireError>;
}

macro_rules! same {
    ($($kind:ty),*) => {$(
        impl Wire for $kind {
            type Pb = $kind;
            fn to_wire(&self) -> $kind { self.clone() }
            fn from_wire(pb: $kind) -> Result<Self, WireError> { Ok(pb) }
        }
    )*};
}
same!(u64, i64, i32, u32, f32, bool, String, Vec<u8>);

impl Wire for u16 {
    type Pb = u32;
    fn to_wire(&self) -> u32 {
        u32::from(*self)
    }
    fn from_wire(pb: u32) -> Result<Self, WireError> {
        u16::try_from(pb).map_err(|_| WireError::Malformed { what: "16-bit number", value: pb.to_string() })
    }
}

impl Wire for u8 {
    type Pb = u32;
    fn to_wire(&self) -> u32 {
        u32::from(*self)
    }
    fn from_wire(pb: u32) -> Result<Self, WireError> {
        u8::try_from(pb).map_err(|_| WireError::Malformed { what: "8-bit number", value: pb.to_string() })
    }
}

/// Nanoseconds; what exceeds 584 years is cut.
impl Wire for Duration {
    type Pb = u64;
    fn to_wire(&self) -> u64 {
        u64::try_from(self.as_nanos()).unwrap_or(u64::MAX)
    }
    fn from_wire(pb: u64) -> Result<Self, WireError> {
        Ok(Duration::from_nanos(pb))
    }
}

impl Wire for WallTime {
    type Pb = i64;
    fn to_wire(&self) -> i64 {
        self.0
    }
    fn from_wire(pb: i64) -> Result<Self, WireError> {
        Ok(WallTime(pb))
    }
}

impl Wire for [u8; 32] {
    type Pb = Vec<u8>;
    fn to_wire(&self) -> Vec<u8> {
        self.to_vec()
    }
    fn from_wire(pb: Vec<u8>) -> Result<Self, WireError> {
        // The value may be a key: only its length is told.
        let value = format!("{} bytes", pb.len());
        pb.try_into().map_err(|_| WireError::Malformed { what: "key of 32 bytes", value })
    }
}

macro_rules! ids {
    ($($id:ty),*) => {$(
        impl Wire for $id {
            type Pb = Vec<u8>;
            fn to_wire(&self) -> Vec<u8> { self.to_bytes().to_vec() }
            fn from_wire(pb: Vec<u8>) -> Result<Self, WireError> {
                <$id>::from_bytes(&pb).ok_or(WireError::Malformed { what: stringify!($id), value: format!("{} bytes", pb.len()) })
            }
        }
    )*};
}
ids!(ClusterId, NodeId, ServiceId, TaskId, NetworkId, SecretId, ConfigId);

macro_rules! text {
    ($($kind:ty => $what:literal),*) => {$(
        impl Wire for $kind {
            type Pb = String;
            fn to_wire(&self) -> String { self.to_string() }
            fn from_wire(pb: String) -> Result<Self, WireError> {
                pb.parse().map_err(|_| WireError::Malformed { what: $what, value: pb })
            }
        }
    )*};
}
text!(IpAddr => "address", IpNet => "subnet", Ipv4Net => "subnet", std::net::SocketAddr => "socket address");

impl<T: Wire> Wire for Option<T> {
    type Pb = Option<T::Pb>;
    fn to_wire(&self) -> Self::Pb {
        self.as_ref().map(Wire::to_wire)
    }
    fn from_wire(pb: Self::Pb) -> Result<Self, WireError> {
        pb.map(T::from_wire).transpose()
    }
}

/// Lists of everything but bytes (`Vec<u8>` is itself).
impl<T: Wire + ListItem> Wire for Vec<T> {
    type Pb = Vec<T::Pb>;
    fn to_wire(&self) -> Self::Pb {
        self.iter().map(Wire::to_wire).collect()
    }
    fn from_wire(pb: Self::Pb) -> Result<Self, WireError> {
        pb.into_iter().map(T::from_wire).collect()
    }
}

/// Marks what a list may hold; `u8` is not among them.
pub trait ListItem {}
impl ListItem for String {}
impl ListItem for WallTime {}
impl ListItem for IpAddr {}
impl ListItem for Ipv4Net {}

impl<T: Wire> Wire for BTreeMap<String, T> {
    type Pb = BTreeMap<String, T::Pb>;
    fn to_wire(&self) -> Self::Pb {
        self.iter().map(|(key, value)| (key.clone(), value.to_wire())).collect()
    }
    fn from_wire(pb: Self::Pb) -> Result<Self, WireError> {
        pb.into_iter().map(|(key, value)| Ok((key, T::from_wire(value)?))).collect()
    }
}

impl<T: Wire> Wire for Arc<T> {
    type Pb = T::Pb;
    fn to_wire(&self) -> T::Pb {
        (**self).to_wire()
    }
    fn from_wire(pb: T::Pb) -> Result<Self, WireError> {
        T::from_wire(pb).map(Arc::new)
    }
}

impl<T: Wire> Wire for Sensitive<T> {
    type Pb = T::Pb;
    fn to_wire(&self) -> T::Pb {
        self.expose().to_wire()
    }
    fn from_wire(pb: T::Pb) -> Result<Self, WireError> {
        T::from_wire(pb).map(Sensitive::new)
    }
}

/// A message field that must be there.
pub fn required<T: Wire>(pb: Option<T::Pb>, name: &'static str) -> Result<T, WireError> {
    T::from_wire(pb.ok_or(WireError::Missing(name))?)
}

/// `message!(Core => pb { scalar, list, optional; message })`: before the semicolon fields whose wire
/// form is the type's own, after it messages that must be there.
macro_rules! message {
    ($core:path => $pb:path { $($field:ident),* $(; $($required:ident),*)? }) => {
        impl $crate::convert::Wire for $core {
            type Pb = $pb;
            fn to_wire(&self) -> $pb {
                $pb {
                    $($field: $crate::convert::Wire::to_wire(&self.$field),)*
                    $($($required: Some($crate::convert::Wire::to_wire(&self.$required)),)*)?
                }
            }
            fn from_wire(pb: $pb) -> Result<Self, $crate::convert::WireError> {
                Ok(Self {
                    $($field: $crate::convert::Wire::from_wire(pb.$field)?,)*
                    $($($required: $crate::convert::required(
                        pb.$required, concat!(stringify!($core), ".", stringify!($required)))?,)*)?
                })
            }
        }
        impl $crate::convert::ListItem for $core {}
    };
}

/// `enumeration!(Core => pb { A, B })`: variants of the same names; zero and unknown numbers are errors.
macro_rules! enumeration {
    ($core:ident => $pb:path { $($variant:ident),* }) => {
        impl $crate::convert::Wire for $core {
            type Pb = i32;
            fn to_wire(&self) -> i32 {
                match self { $($core::$variant => <$pb>::$variant as i32,)* }
            }
            fn from_wire(pb: i32) -> Result<Self, $crate::convert::WireError> {
                match <$pb>::try_from(pb) {
                    $(Ok(<$pb>::$variant) => Ok($core::$variant),)*
                    _ => Err($crate::convert::WireError::Unknown { what: stringify!($core), value: i64::from(pb) }),
                }
            }
        }
        impl $crate::convert::ListItem for $core {}
    };
}

pub(crate) use {enumeration, message};
