//! A real Apache Kafka, of one node or three, for tests and benches: `cargo xtask kafka start|stop|tool`.
//!
//! Its jars come by Maven into the target folder; it needs a JDK of 17 or later. A node runs until it is stopped, as a process of its own.

#![allow(clippy::disallowed_methods, reason = "xtask depends on no crate of the workspace")]

use std::fs;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{Step, run, tidy};

const VERSION: &str = "4.3.1";
const HELP: &str = "\
cargo xtask kafka COMMAND

  start [--nodes 1|3] [--port N] [--dir D] [--set NAME=VALUE].. [--keep]
                        starts Apache Kafka on 127.0.0.1:N (29092); the nodes of three follow at N+2 and N+4, controllers at the
                        odd ports. What was in D (in the target folder) goes, without --keep
  stop [--dir D]        ends it
  tool CLASS [..]       runs a class of its jars, as org.apache.kafka.tools.TopicCommand
";
/// How long a node may take to open its port, in tenths of a second.
const START_PAUSES: u32 = 600;
/// How long a node may take to end, in tenths of a second.
const STOP_PAUSES: u32 = 300;
const PAUSE: Duration = Duration::from_millis(100);

/// Where a cluster lies, and how it is made.
struct Cluster {
    nodes: u16,
    port: u16,
    folder: PathBuf,
    settings: Vec<String>,
    keep: bool,
}

pub fn command(arguments: &[String]) -> Step {
    let (verb, rest) = match arguments.split_first() {
        Some((verb, rest)) => (verb.as_str(), rest),
        None => ("help", &[][..]),
    };
    match verb {
        "start" => Cluster::parse(rest)?.start(),
        "stop" => Cluster::parse(rest)?.stop(),
        "tool" => {
            let class_path = class_path()?;
            let mut java = vec!["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", &class_path];
            java.extend(rest.iter().map(String::as_str));
            let error = Command::new("java").args(java).exec();
            Err(format!("java cannot be run ({error}); it takes a JDK of 17 or later"))
        }
        "help" | "--help" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(format!("there is no command {other:?}\n\n{HELP}")),
    }
}

/// The folder of the jars and of the data, in the target folder.
fn home() -> Result<PathBuf, String> {
    let metadata = tidy::metadata()?;
    let target = metadata["target_directory"].as_str().ok_or("cargo metadata names no target directory")?;
    Ok(Path::new(target).join("kafka"))
}

/// All jars, fetched if they are not there.
pub fn class_path() -> Result<String, String> {
    let home = home()?;
    let (jars, project) = (home.join("lib").join(VERSION), home.join("pom.xml"));
    if !jars.exists() {
        fs::create_dir_all(&home).map_err(|error| format!("{} cannot be made: {error}", home.display()))?;
        fs::write(&project, project_text())
            .map_err(|error| format!("{} cannot be written: {error}", project.display()))?;
        // Into a folder of another name first, so that jars are there whole or not at all.
        let fetched = home.join("lib").join("fetched");
        let arguments = [
            "-q".to_owned(),
            "-B".to_owned(),
            "-f".to_owned(),
            project.display().to_string(),
            "dependency:copy-dependencies".to_owned(),
            "-DincludeScope=runtime".to_owned(),
            format!("-DoutputDirectory={}", fetched.display()),
        ];
        run("jars of Apache Kafka", "mvn", &arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        fs::rename(&fetched, &jars).map_err(|error| format!("{} cannot be renamed: {error}", fetched.display()))?;
    }
    Ok(format!("{}/*", jars.display()))
}

fn project_text() -> String {
    let kafka = ["kafka_2.13", "kafka-tools", "kafka-streams"].map(|artifact| ("org.apache.kafka", artifact, VERSION));
    let all = kafka.into_iter().chain([("org.slf4j", "slf4j-simple", "1.7.36")]);
    let dependency = |(group, artifact, version): (&str, &str, &str)| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
        )
    };
    let dependencies: String = all.map(dependency).collect();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>tidewater</groupId><artifactId>kafka</artifactId><version>1</version>\
         <dependencies>{dependencies}</dependencies></project>\n"
    )
}

impl Cluster {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut cluster =
            Cluster { nodes: 1, port: 29092, folder: home()?.join("data"), settings: Vec::new(), keep: false };
        let mut arguments = arguments.iter();
        while let Some(option) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{option} wants a value"));
            match option.as_str() {
                "--nodes" => {
                    cluster.nodes = match value()?.as_str() {
                        "1" => 1,
                        "3" => 3,
                        other => return Err(format!("there are clusters of 1 node and of 3, not of {other:?}")),
                    };
                }
                "--port" => {
                    let port = value()?;
                    cluster.port = port.parse().map_err(|_| format!("{port:?} is no port"))?;
                }
                "--dir" => cluster.folder = value()?.into(),
                "--set" => cluster.settings.push(value()?.clone()),
                "--keep" => cluster.keep = true,
                other => return Err(format!("there is no option {other:?}\n\n{HELP}")),
            }
        }
        Ok(cluster)
    }

    fn node_folder(&self, node: u16) -> PathBuf {
        self.folder.join(format!("node-{node}"))
    }

    fn client_port(&self, node: u16) -> u16 {
        self.port + 2 * (node - 1)
    }

    fn properties(&self, node: u16) -> String {
        let port = self.client_port(node);
        let voters: Vec<String> =
            (1..=self.nodes).map(|node| format!("{node}@127.0.0.1:{}", self.client_port(node) + 1)).collect();
        let data = self.node_folder(node).join("data");
        let own = [
            "process.roles=broker,controller".to_owned(),
            format!("node.id={node}"),
            format!("controller.quorum.voters={}", voters.join(",")),
            format!("listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{}", port + 1),
            format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port}"),
            "controller.listener.names=CONTROLLER".to_owned(),
            "inter.broker.listener.name=PLAINTEXT".to_owned(),
            format!("log.dirs={}", data.display()),
            format!("offsets.topic.replication.factor={}", self.nodes),
            format!("transaction.state.log.replication.factor={}", self.nodes),
            format!("transaction.state.log.min.isr={}", self.nodes.min(2)),
            format!("share.coordinator.state.topic.replication.factor={}", self.nodes),
            format!("share.coordinator.state.topic.min.isr={}", self.nodes.min(2)),
        ];
        own.into_iter().chain(self.settings.iter().cloned()).map(|line| line + "\n").collect()
    }

    fn start(&self) -> Step {
        let class_path = class_path()?;
        if !self.keep && self.folder.exists() {
            self.stop()?;
            fs::remove_dir_all(&self.folder).map_err(|error| self.failed("emptied", &error))?;
        }
        let id = Command::new("java")
            .args(["-cp", &class_path, "kafka.tools.StorageTool", "random-uuid"])
            .stderr(Stdio::null())
            .output()
            .map_err(|error| format!("java cannot be run ({error}); it takes a JDK of 17 or later"))?;
        let id = String::from_utf8_lossy(&id.stdout).trim().to_owned();
        for node in 1..=self.nodes {
            let port = self.client_port(node);
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Err(format!("port {port} is taken; --port names another"));
            }
            let folder = self.node_folder(node);
            fs::create_dir_all(&folder).map_err(|error| self.failed("made", &error))?;
            let properties = folder.join("server.properties").display().to_string();
            fs::write(&properties, self.properties(node)).map_err(|error| self.failed("written to", &error))?;
            let log =
                |name: &str| fs::File::create(folder.join(name)).map_err(|error| self.failed("written to", &error));
            if !folder.join("data").join("meta.properties").exists() {
                let format = ["-cp", &class_path, "kafka.tools.StorageTool", "format", "-t", &id, "-c", &properties];
                let output = log("format.log")?;
                let status = Command::new("java").args(format).stdout(output).stderr(Stdio::null()).status();
                if !status.is_ok_and(|status| status.success()) {
                    return Err(format!(
                        "node {node} cannot be formatted; see {}",
                        folder.join("format.log").display()
                    ));
                }
            }
            let (output, errors) = (log("broker.log")?, log("broker.err")?);
            let level = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn";
            let broker = Command::new("java")
                .args(["-Xms1g", "-Xmx1g", "-XX:+UseG1GC", level, "-cp", &class_path, "kafka.Kafka", &properties])
                .stdin(Stdio::null())
                .stdout(output)
                .stderr(errors)
                .process_group(0)
                .spawn()
                .map_err(|error| format!("java cannot be run: {error}"))?;
            fs::write(folder.join("pid"), broker.id().to_string())
                .map_err(|error| self.failed("written to", &error))?;
        }
        for node in 1..=self.nodes {
            self.wait_for(node)?;
        }
        println!(
            "Apache Kafka {VERSION} at 127.0.0.1:{}, {} node(s), data in {}",
            self.port,
            self.nodes,
            self.folder.display()
        );
        Ok(())
    }

    fn wait_for(&self, node: u16) -> Step {
        for _ in 0..START_PAUSES {
            if TcpStream::connect(("127.0.0.1", self.client_port(node))).is_ok() {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        Err(format!("node {node} does not open its port; see {}", self.node_folder(node).join("broker.err").display()))
    }

    fn stop(&self) -> Step {
        for node in [1, 2, 3] {
            let file = self.node_folder(node).join("pid");
            let Ok(pid) = fs::read_to_string(&file) else { continue };
            // The number may be another program's by now.
            let mine = self.node_folder(node).display().to_string();
            let is_there = || {
                let found = Command::new("ps").args(["-o", "command=", "-p", &pid]).output();
                found.is_ok_and(|found| String::from_utf8_lossy(&found.stdout).contains(&mine))
            };
            if is_there() {
                let _ = Command::new("kill").arg(&pid).status();
            }
            for _ in 0..STOP_PAUSES {
                if !is_there() {
                    break;
                }
                std::thread::sleep(PAUSE);
            }
            fs::remove_file(&file).map_err(|error| self.failed("changed", &error))?;
        }
        Ok(())
    }

    fn failed(&self, what: &str, error: &std::io::Error) -> String {
        format!("{} cannot be {what}: {error}", self.folder.display())
    }
}
