//! `swarm ca`: the certificate of the cluster's CA.

use crate::cli::Context;
use crate::error::{CliError, Result};
use crate::json::text;
use crate::table::write_out;
use crate::units::parse_duration_ns;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct CaArgs {
    /// Make a new CA (not supported yet)
    #[arg(long)]
    rotate: bool,
    /// Certificate of the new CA, a PEM file; with --rotate
    #[arg(long, value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// Key of the new CA, a PEM file; with --rotate
    #[arg(long, value_name = "FILE")]
    ca_key: Option<PathBuf>,
    /// How long the certificates of nodes are valid; with --rotate
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    cert_expiry: Option<i64>,
    /// Signing service of the new CA; with --rotate
    #[arg(long = "external-ca", value_name = "CA")]
    external_cas: Vec<String>,
    /// Do not wait until all nodes trust the new CA
    #[arg(short, long)]
    detach: bool,
    /// No progress
    #[arg(short, long)]
    quiet: bool,
}

impl CaArgs {
    /// The first flag that means something only for a new CA.
    fn of_rotation(&self) -> Option<&'static str> {
        let given = [
            ("ca-cert", self.ca_cert.is_some()),
            ("ca-key", self.ca_key.is_some()),
            ("cert-expiry", self.cert_expiry.is_some()),
            ("external-ca", !self.external_cas.is_empty()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }
}

pub async fn run(context: &Context, args: CaArgs) -> Result<()> {
    if args.rotate {
        return Err(CliError::usage("--rotate: the daemon cannot replace the CA of a cluster yet"));
    }
    if let Some(flag) = args.of_rotation() {
        return Err(CliError::usage(format!("`--{flag}` flag requires the `--rotate` flag to update the CA")));
    }
    let swarm = context.client().await?.get("/swarm").await?;
    match text(&swarm, "/TLSInfo/TrustRoot").trim() {
        "" => Err(CliError::usage("No CA information available")),
        certificate => {
            write_out(&format!("{certificate}\n"));
            Ok(())
        }
    }
}
