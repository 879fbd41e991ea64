//! The demo from its arguments to its exit code.

use std::{fs, io::Write, path::PathBuf, sync::Arc};

use hdrhistogram::Histogram;
use tokio::{net::TcpListener, task};

use super::{
    args::{DemoArgs, Form},
    caches::{Caches, Redis, Tiers},
    chart::{self, Series},
    checker::Checker,
    data,
    folder::Folder,
    http::Server,
    interrupt::Interrupt,
    load::Plan,
    origin::Origin,
    progress::Progress,
    report::Report,
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
    let ran = demo.stages().await;
    let code = match ran {
        Ok(()) => demo.tell_and_serve().await,
        Err(fault) => Err(fault),
    };
    demo.caches.close().await?;
    code
}

/// Everything that the stages share.
pub(crate) struct Demo {
    pub(crate) args: DemoArgs,
    pub(crate) interrupt: Interrupt,
    pub(crate) origin: Origin,
    pub(crate) caches: Arc<Caches>,
    pub(crate) tiers: Tiers,
    pub(crate) plan: Plan,
    pub(crate) report: Report,
    /// Of each load phase: its name, its requests a second, its latencies.
    pub(crate) latencies: Vec<(&'static str, f64, Histogram<u64>)>,
    /// Taken at the start, so that a busy port is known before the work.
    listener: Option<TcpListener>,
    folder: Folder,
}

impl Demo {
    /// Opens everything, so that whatever is wrong is known before the work.
    async fn prepare(args: DemoArgs, interrupt: Interrupt) -> Result<Self, Fault> {
        let folder = Folder::open(&args.data)?;
        let listener = match &args.listen {
            None => None,
            Some(address) => Some(listen(address).await?),
        };
        let _progress = Progress::stage("Opening the database");
        let origin = open(folder.database()).await?;
        let tiers = tiers(&folder, &origin, args.redis.as_deref()).await?;
        let caches = Arc::new(Caches::open(&tiers, false).await?);
        let rows =
            origin.everything().await.map_err(|error| Fault::because("cannot read the cities", &error))?;
        let plan = Plan {
            traffic: Traffic::new(data::cities(), args.skew, args.writes),
            checker: Arc::new(Checker::new(rows)),
            users: args.concurrency,
            span: args.load_for,
            seed: args.seed,
        };
        let (report, latencies) = (Report::new(&args), Vec::new());
        Ok(Self { args, interrupt, origin, caches, tiers, plan, report, latencies, listener, folder })
    }

    /// Draws, reports, serves on if asked to. Returns the exit code.
    async fn tell_and_serve(&mut self) -> Result<u8, Fault> {
        self.report.interrupted = self.interrupt.code().is_some();
        self.write_chart()?;
        let told = tell(&self.report, self.args.report)?;
        if let Some(code) = self.interrupt.code() {
            return Ok(code);
        }
        if told == Told::Everything {
            self.serve_on().await?;
        }
        Ok(if self.report.wrong_answers + self.report.failed_requests > 0 { 3 } else { 0 })
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

    /// Serves on the address asked for, until somebody interrupts: that is how it ends, so the exit code is the report's.
    async fn serve_on(&mut self) -> Result<(), Fault> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        let service = self.cached_service().await?;
        let server =
            Server::start(listener, service).map_err(|error| Fault::because("cannot serve", &error))?;
        drop(writeln!(std::io::stderr(), "Serving on http://{}/ until Ctrl-C.", server.address()));
        self.interrupt.wait().await;
        server.end().await;
        Ok(())
    }
}

async fn listen(address: &str) -> Result<TcpListener, Fault> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Fault::because(format!("cannot listen on `{address}`"), &error))
}

async fn open(path: PathBuf) -> Result<Origin, Fault> {
    let shown = path.display().to_string();
    task::spawn_blocking(move || Origin::open(&path))
        .await
        .map_err(|error| Fault::because("cannot open the database", &error))?
        .map_err(|error| Fault::because(format!("cannot open the database `{shown}`"), &error))
}

/// Where the tiers lie. An era ends when the next run has another Redis, or none, or one again: that one did not hear
/// of the changes of the last era, and numbers them differently. So each era has a prefix and a folder of its own.
async fn tiers(folder: &Folder, origin: &Origin, redis: Option<&str>) -> Result<Tiers, Fault> {
    let server = redis.map_or("none", |url| url.rsplit('@').next().unwrap_or(url));
    let era = origin.era(server.to_owned()).await;
    let era = era.map_err(|error| Fault::because("cannot use the database", &error))?;
    let instance = origin.instance();
    let prefix = format!("larder-demo-{instance}-{era}");
    Ok(Tiers {
        folder: folder.tier(instance, era),
        redis: redis.map(|url| Redis { url: url.to_owned(), prefix }),
    })
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
