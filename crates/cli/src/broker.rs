//! `tidewater broker`: the log as a Kafka broker of one node.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tidewater::broker::{Broker, BrokerConfig, asked_to_end};
use tidewater::{Listener, Server};

/// Where a broker listens unless it is told otherwise.
const DEFAULT_LISTENER: &str = "PLAINTEXT://127.0.0.1:9092";
/// How long requests at work may take to end once the broker is asked to.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// Serves the log to Kafka clients.
#[derive(Args)]
pub struct Serve {
    /// Where to listen, as HOST:PORT or NAME://HOST:PORT; may be repeated. Default: 127.0.0.1:9092, or what the file says.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Vec<Listener>,
    /// Settings by Kafka's names: a server.properties, or a TOML file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Gives listeners that have the name of another one a number, as those that were given without a name.
fn with_names_of_their_own(mut listeners: Vec<Listener>) -> Vec<Listener> {
    for at in 1..listeners.len() {
        if listeners[..at].iter().any(|other| other.name == listeners[at].name) {
            listeners[at].name = format!("{}_{}", listeners[at].name, at + 1);
        }
    }
    listeners
}

/// Serves until the process is asked to end. `data` is the folder that was named, if one was.
pub fn run(command: &Serve, data: Option<&Path>, default: &Path) -> anyhow::Result<()> {
    let mut config = match &command.config {
        Some(file) => BrokerConfig::read(file)?,
        None => BrokerConfig::default(),
    };
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if !command.listen.is_empty() {
        config.listen_at(with_names_of_their_own(command.listen.clone()))?;
    } else if config.listeners.is_empty() {
        config.listen_at(vec![DEFAULT_LISTENER.parse()?])?;
    }
    let data = data.map(Path::to_owned).or(config.data.take()).unwrap_or_else(|| default.to_owned());
    let broker = Broker::open(&data.join("log"), config.broker)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("tidewater-net").build()?;
    runtime.block_on(async {
        // Before anybody is told that it serves.
        let asked = asked_to_end()?;
        let server = Server::start(&broker, &config.listeners, config.server).await?;
        for (name, address) in server.addresses() {
            println!("{name} listens at {address}, data in {}", data.display());
        }
        asked.await;
        // Whoever still waits is not waited for.
        let _ = tokio::time::timeout(STOP_WAIT, server.stop()).await;
        anyhow::Ok(())
    })?;
    runtime.shutdown_timeout(STOP_WAIT);
    Ok(broker.close()?)
}
