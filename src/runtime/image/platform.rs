//! What an image runs on: `linux/amd64`, `linux/arm/v7`.

use super::error::{ImageError, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Names as in Go's GOOS and GOARCH, which the OCI image-spec uses. An empty variant is any.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Platform {
    /// This machine.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "x86" => ("386", ""),
            "aarch64" => ("arm64", ""),
            "arm" => ("arm", "v7"),
            "powerpc64" => ("ppc64le", ""),
            "loongarch64" => ("loong64", ""),
            other => (other, ""),
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: variant.into() }
    }

    /// Parses `os/architecture[/variant]` or an architecture alone, with the aliases people use.
    pub fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts.as_slice() {
            [architecture] => ("linux", *architecture, ""),
            [os, architecture] => (*os, *architecture, ""),
            [os, architecture, variant] => (*os, *architecture, *variant),
            _ => ("", "", ""),
        };
        let word = |w: &str| w.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        if os.is_empty() || architecture.is_empty() || !parts.iter().all(|p| word(p)) {
            return Err(ImageError::BadReference {
                text: text.chars().take(100).collect(),
                reason: "a platform is written os/architecture or os/architecture/variant",
            });
        }
        Ok(Self { os: os.into(), architecture: architecture.into(), variant: variant.into() }.normalised())
    }

    /// One spelling for each machine: `x86_64` is `amd64`, `arm64/v8` is `arm64`.
    pub(crate) fn normalised(mut self) -> Self {
        self.os.make_ascii_lowercase();
        self.architecture.make_ascii_lowercase();
        self.variant.make_ascii_lowercase();
        match self.architecture.as_str() {
            "x86_64" | "x86-64" => self.architecture = "amd64".into(),
            "aarch64" => self.architecture = "arm64".into(),
            "i386" | "i686" => self.architecture = "386".into(),
            "armhf" => (self.architecture, self.variant) = ("arm".into(), "v7".into()),
            "armel" => (self.architecture, self.variant) = ("arm".into(), "v6".into()),
            _ => {}
        }
        match (self.architecture.as_str(), self.variant.as_str()) {
            ("arm64", "8" | "v8") | ("amd64", "v1") => self.variant.clear(),
            ("arm", "5" | "6" | "7" | "8") => self.variant.insert(0, 'v'),
            _ => {}
        }
        self
    }

    /// How well a machine that wants `self` runs what is built for `offered`: lower is better, `None` not at all.
    /// An arm machine runs the variants below its own.
    pub(crate) fn distance(&self, offered: &Platform) -> Option<u32> {
        let (wanted, offered) = (self.clone().normalised(), offered.clone().normalised());
        if wanted.os != offered.os || wanted.architecture != offered.architecture {
            return None;
        }
        if wanted.variant == offered.variant {
            return Some(0);
        }
        let number = |v: &str| v.trim_start_matches('v').parse::<u32>().ok();
        if wanted.architecture == "arm" {
            let (have, need) = (number(&wanted.variant).unwrap_or(7), number(&offered.variant).unwrap_or(7));
            return have.checked_sub(need);
        }
        // Without a wish any baseline build will do; a build for a newer variant will not.
        if offered.variant.is_empty() { Some(1) } else { None }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(text: &str) -> Platform {
        Platform::parse(text).expect(text)
    }

    #[test]
    fn aliases_mean_the_same_machine() {
        assert_eq!(p("linux/x86_64"), p("amd64"));
        assert_eq!(p("linux/arm64/v8"), p("linux/aarch64"));
        assert_eq!(p("linux/arm/7"), p("linux/armhf"));
        assert!(
            Platform::parse("").is_err() && Platform::parse("a/b/c/d").is_err() && Platform::parse("linux/").is_err()
        );
    }

    #[test]
    fn an_arm_machine_takes_the_nearest_variant_below_its_own() {
        assert_eq!(p("linux/arm/v7").distance(&p("linux/arm/v7")), Some(0));
        assert_eq!(p("linux/arm/v7").distance(&p("linux/arm/v6")), Some(1));
        assert_eq!(p("linux/arm/v6").distance(&p("linux/arm/v7")), None);
        assert_eq!(p("linux/amd64").distance(&p("linux/amd64/v3")), None);
        assert_eq!(p("linux/amd64").distance(&p("linux/arm64")), None);
    }
}
