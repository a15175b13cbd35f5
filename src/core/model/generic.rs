//! Generic resources in words: what a node is told it has (`gpu=4`, `gpu=GPU-1`), as `dockerd --node-generic-resource`
//! takes them.

use super::{ResourceNames, Resources};

/// Units of one kind at most: they are listed in the node's description, which all managers keep.
const NAMES_MAX: usize = 1000;

/// Why a text is no generic resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadResource {
    #[error("\"{text}\" is not KIND=AMOUNT or KIND=NAME")]
    NoPair { text: String },
    #[error("\"{text}\": an amount is 1 or more")]
    BadAmount { text: String },
    #[error("\"{kind}\" is given by amount and by name: use one of them for all of a kind")]
    Mixed { kind: String },
    #[error("\"{kind}={name}\" is given twice")]
    Twice { kind: String, name: String },
    #[error("\"{kind}\" has more than {NAMES_MAX} names: give an amount, {kind}=AMOUNT")]
    TooMany { kind: String },
}

impl Resources {
    /// Adds what `text` names: several may stand in one, with commas between them. Of a kind there is one amount, or
    /// any number of names.
    ///
    /// # Errors
    /// When one of them is not valid; those before it were added.
    pub fn add_generic(&mut self, text: &str) -> Result<(), BadResource> {
        text.split(',').map(str::trim).try_for_each(|one| self.add_one(one))
    }

    fn add_one(&mut self, text: &str) -> Result<(), BadResource> {
        let pair = text.split_once('=').map(|(kind, value)| (kind.trim(), value.trim()));
        let pair = pair.filter(|(kind, value)| !kind.is_empty() && !value.is_empty() && !value.contains('='));
        let Some((kind, value)) = pair else { return Err(BadResource::NoPair { text: text.to_owned() }) };
        let kind = kind.to_owned();
        let Ok(amount) = value.parse::<i64>() else {
            return self.add_name(kind, value);
        };
        if amount < 1 {
            return Err(BadResource::BadAmount { text: text.to_owned() });
        }
        if self.named.contains_key(&kind) {
            return Err(BadResource::Mixed { kind });
        }
        match self.generic.insert(kind.clone(), amount) {
            Some(_) => Err(BadResource::Twice { kind, name: value.to_owned() }),
            None => Ok(()),
        }
    }

    fn add_name(&mut self, kind: String, name: &str) -> Result<(), BadResource> {
        if self.generic.contains_key(&kind) {
            return Err(BadResource::Mixed { kind });
        }
        let ResourceNames { names } = self.named.entry(kind.clone()).or_default();
        if names.len() >= NAMES_MAX {
            return Err(BadResource::TooMany { kind });
        }
        match names.binary_search_by(|known| known.as_str().cmp(name)) {
            Ok(_) => Err(BadResource::Twice { kind, name: name.to_owned() }),
            Err(at) => {
                names.insert(at, name.to_owned());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> Result<Resources, String> {
        let mut resources = Resources::default();
        texts.iter().try_for_each(|text| resources.add_generic(text)).map_err(|error| error.to_string())?;
        Ok(resources)
    }

    #[test]
    fn a_kind_has_an_amount_or_names() {
        let resources = parse(&["ssd=2", "gpu=GPU-2,gpu=GPU-1", "gpu = GPU-3"]).unwrap();
        assert_eq!(resources.generic, [("ssd".to_owned(), 2)].into());
        let names = ["GPU-1", "GPU-2", "GPU-3"].map(str::to_owned).to_vec();
        assert_eq!(resources.named, [("gpu".to_owned(), ResourceNames { names })].into());
    }

    #[test]
    fn what_is_no_resource_is_named() {
        for (texts, words) in [
            (&["gpu"][..], "\"gpu\" is not KIND=AMOUNT or KIND=NAME"),
            (&["gpu="], "is not KIND=AMOUNT"),
            (&["=1"], "is not KIND=AMOUNT"),
            (&["gpu=a=b"], "is not KIND=AMOUNT"),
            (&["gpu=1,"], "\"\" is not KIND=AMOUNT"),
            (&["gpu=0"], "\"gpu=0\": an amount is 1 or more"),
            (&["gpu=-2"], "an amount is 1 or more"),
            (&["gpu=2", "gpu=a"], "\"gpu\" is given by amount and by name"),
            (&["gpu=a,gpu=2"], "\"gpu\" is given by amount and by name"),
            (&["gpu=a", "gpu=a"], "\"gpu=a\" is given twice"),
            (&["gpu=1", "gpu=2"], "\"gpu=2\" is given twice"),
        ] {
            let error = parse(texts).unwrap_err();
            assert!(error.contains(words), "{texts:?}: {error}");
        }
    }
}
