//! `swarm service logs`: of a service, or of one task.

use crate::client::{Client, segment};
use crate::commands::log_options::TaskLogOptions;
use crate::commands::tasks;
use crate::error::{CliError, Result};
use crate::json::flag;
use clap::Args;

#[derive(Debug, Args)]
pub struct LogsArgs {
    #[command(flatten)]
    options: TaskLogOptions,
    #[arg(value_name = "SERVICE|TASK")]
    name: String,
}

pub async fn run(client: &Client, args: LogsArgs) -> Result<()> {
    let name = &args.name;
    match client.get(&super::path(name)).await {
        Ok(service) => {
            let tty = flag(&service, "/Spec/TaskTemplate/ContainerSpec/TTY");
            let slots = super::list::replicas(&service);
            args.options.print(client, &format!("{}/logs", super::path(name)), slots, tty).await
        }
        Err(error) if error.is_not_found() => {
            let path = format!("/tasks/{}", segment(name));
            let missing = |error: CliError| match error.is_not_found() {
                true => CliError::usage(format!("no such task or service: {name}")),
                false => error,
            };
            let task = client.get(&path).await.map_err(missing)?;
            let tty = flag(&task, "/Spec/ContainerSpec/TTY");
            args.options.print(client, &format!("{path}/logs"), tasks::slot(&task), tty).await
        }
        Err(error) => Err(error),
    }
}
