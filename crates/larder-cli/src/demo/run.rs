//! The demo from its first stage to its report.

use std::{fs, io::Write, net::Ipv4Addr, path::PathBuf, sync::Arc};

use hdrhistogram::Histogram;
use tokio::{net::TcpListener, task};

use super::{
    args::{DemoArgs, Form},
    chart::{self, Series},
    checker::Checker,
    data,
    folder::Folder,
    http::Server,
    interrupt::Interrupt,
    load::{Load, Plan, drive},
    origin::{Origin, OriginCount},
    progress::Progress,
    report::{Phase, Report},
    service::Service,
    table,
    traffic::Traffic,
};
use crate::fault::Fault;

/// Runs all stages, reports, and serves on if asked to. Returns the exit code.
///
/// # Errors
/// If a stage cannot begin or go on; nothing is reported then.
pub(crate) async fn run(args: DemoArgs) -> Result<u8, Fault> {
    let interrupt =
        Interrupt::listen().map_err(|error| Fault::because("cannot listen for signals", &error))?;
    let mut demo = Demo::prepare(args, interrupt).await?;
    demo.stages().await?;
    demo.report.interrupted = demo.interrupt.code().is_some();
    demo.write_chart()?;
    let told = tell(&demo.report, demo.args.report)?;
    let code = demo.interrupt.code().unwrap_or_else(|| verdict(&demo.report));
    if told == Told::Everything && demo.interrupt.code().is_none() {
        demo.serve_on().await?;
    }
    Ok(code)
}

struct Demo {
    args: DemoArgs,
    interrupt: Interrupt,
    folder: Folder,
    /// Taken at the start, so that a busy port is known before the work.
    listener: Option<TcpListener>,
    origin: Origin,
    plan: Plan,
    report: Report,
    latencies: Vec<(&'static str, f64, Histogram<u64>)>,
}

impl Demo {
    async fn prepare(args: DemoArgs, interrupt: Interrupt) -> Result<Self, Fault> {
        let folder = Folder::open(&args.data)?;
        let listener = match &args.listen {
            None => None,
            Some(address) => Some(
                TcpListener::bind(address)
                    .await
                    .map_err(|error| Fault::because(format!("cannot listen on `{address}`"), &error))?,
            ),
        };
        let _progress = Progress::stage("Opening the database");
        let path = folder.database();
        let shown = path.display().to_string();
        let origin = task::spawn_blocking(move || Origin::open(&path))
            .await
            .map_err(|error| Fault::because("cannot open the database", &error))?
            .map_err(|error| Fault::because(format!("cannot open the database `{shown}`"), &error))?;
        let rows =
            origin.everything().await.map_err(|error| Fault::because("cannot read the cities", &error))?;
        let plan = Plan {
            traffic: Traffic::new(data::cities(), args.writes),
            checker: Arc::new(Checker::new(rows)),
            users: args.concurrency,
            span: args.load_for,
            seed: args.seed,
        };
        let report = Report::new(&args);
        Ok(Self { args, interrupt, folder, listener, origin, plan, report, latencies: Vec::new() })
    }

    /// Each stage, unless somebody interrupts before it.
    async fn stages(&mut self) -> Result<(), Fault> {
        let (phase, load) = self.load("Without Larder", Service::uncached(self.origin.clone())).await?;
        self.latencies.push(("without Larder", phase.rps, load.latencies));
        self.report.count(load.tally);
        self.report.uncached = Some(phase);
        Ok(())
    }

    /// One load phase against a server of its own.
    async fn load(&self, name: &'static str, service: Arc<Service>) -> Result<(Phase, Load), Fault> {
        let progress = Progress::stage(name);
        let server = start(service).await?;
        let before = self.origin.count();
        let load = drive(&self.plan, server.address(), &progress, &self.interrupt).await;
        let origin = since(before, self.origin.count());
        server.end().await;
        let load = load?;
        Ok((Phase::new(&load, origin), load))
    }

    fn write_chart(&mut self) -> Result<(), Fault> {
        if self.latencies.is_empty() {
            return Ok(());
        }
        let path: PathBuf = self.args.chart.clone().unwrap_or_else(|| self.folder.chart());
        let series: Vec<Series<'_>> = self
            .latencies
            .iter()
            .map(|(name, rps, latencies)| Series { name, rps: *rps, latencies })
            .collect();
        fs::write(&path, chart::draw(&series)).map_err(|error| {
            Fault::because(format!("cannot write the chart `{}`", path.display()), &error)
        })?;
        self.report.chart = Some(path);
        Ok(())
    }

    /// Serves on the address asked for, until somebody interrupts.
    async fn serve_on(&mut self) -> Result<(), Fault> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        let server = Server::start(listener, Service::uncached(self.origin.clone()))
            .map_err(|error| Fault::because("cannot serve", &error))?;
        drop(writeln!(std::io::stderr(), "Serving on http://{}/ until Ctrl-C.", server.address()));
        self.interrupt.wait().await;
        server.end().await;
        Ok(())
    }
}

/// A server on a free port of this machine.
async fn start(service: Arc<Service>) -> Result<Server, Fault> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .map_err(|error| Fault::because("cannot listen on this machine", &error))?;
    Server::start(listener, service).map_err(|error| Fault::because("cannot serve on this machine", &error))
}

fn since(before: OriginCount, now: OriginCount) -> OriginCount {
    OriginCount { calls: now.calls - before.calls, busy: now.busy.saturating_sub(before.busy) }
}

/// Whether the report found a reader.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Everything,
    NobodyListens,
}

fn tell(report: &Report, form: Form) -> Result<Told, Fault> {
    let text = match form {
        Form::Table => table::render(report),
        Form::Json => {
            let json = serde_json::to_string(report);
            json.map_err(|error| Fault::because("cannot write the report", &error))? + "\n"
        }
    };
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Told::Everything),
        // Like `larder demo | head -1`: the reader has what it wanted.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Told::NobodyListens),
        Err(error) => Err(Fault::because("cannot write the report", &error)),
    }
}

fn verdict(report: &Report) -> u8 {
    if report.wrong_answers + report.failed_requests > 0 { 3 } else { 0 }
}
