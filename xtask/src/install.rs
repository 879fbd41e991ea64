//! What the tests need from the system, and how it gets there.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::run::{Problem, output_of, step};

/// What to do about programs that are not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Install them.
    Install,
    /// Say what they are and how to get them.
    List,
}

/// A program that some test starts or some build needs.
struct Need {
    program: &'static str,
    /// The Debian and Ubuntu packages it comes in.
    packages: &'static [&'static str],
    why: &'static str,
}

const NEEDS: [Need; 5] = [
    Need {
        program: "cc",
        packages: &["gcc", "libc6-dev"],
        why: "compiles the C inside some crates (zstd, SQLite) and links every program",
    },
    Need {
        program: "redis-server",
        packages: &["redis-server"],
        why: "the tests start their own, on free loopback ports and in temporary folders",
    },
    Need {
        program: "openssl",
        packages: &["openssl"],
        why: "makes the certificates of the tests that speak TLS",
    },
    Need { program: "valgrind", packages: &["valgrind"], why: "counts the instructions of a hit" },
    Need { program: "kill", packages: &["procps"], why: "ends a program under test as Ctrl-C does" },
];

/// Makes sure that everything is there. False: something is missing and it was said what.
pub(crate) fn ensure(missing: Missing) -> Result<bool, Problem> {
    let absent = absent();
    if absent.is_empty() {
        return Ok(true);
    }
    for need in &absent {
        println!("missing: {} ({})", need.program, need.why);
    }
    let packages: Vec<&str> = absent.iter().flat_map(|need| need.packages).copied().collect();
    if missing == Missing::List {
        println!("to install it on Debian or Ubuntu: sudo apt-get install {}", packages.join(" "));
        return Ok(false);
    }
    install(&packages)?;
    match absent_names().as_slice() {
        [] => Ok(true),
        names => Err(format!("the packages are installed, but PATH has no {}", names.join(", "))),
    }
}

/// Lists what the tests start, and deals with what is missing.
pub(crate) fn servers(missing: Missing) -> Result<bool, Problem> {
    let complete = ensure(missing)?;
    for need in NEEDS {
        if let Some(path) = find(need.program) {
            // openssl 3.0 knows no flag for it.
            let asked = ["--version", "version"].map(|how| output_of(Command::new(&path).arg(how)));
            let version = asked.into_iter().flatten().next().unwrap_or_default();
            let version = version.lines().next().unwrap_or("version unknown");
            println!("{}: {}, {version}", need.program, path.display());
        }
    }
    Ok(complete)
}

fn absent() -> Vec<Need> {
    NEEDS.into_iter().filter(|need| find(need.program).is_none()).collect()
}

fn absent_names() -> Vec<&'static str> {
    absent().iter().map(|need| need.program).collect()
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn install(packages: &[&str]) -> Result<(), Problem> {
    if find("apt-get").is_none() {
        return Err(format!("I can only install with apt-get. Please install: {}", packages.join(", ")));
    }
    let root = output_of(Command::new("id").arg("-u"))?.trim() == "0";
    if !root && find("sudo").is_none() {
        return Err(format!(
            "installing needs root. As root, please run: apt-get install {}",
            packages.join(" ")
        ));
    }
    println!("installing {} with apt-get{}", packages.join(", "), if root { "" } else { " through sudo" });
    if !known(packages) && !step("package lists", &mut apt_get(root, &["update"])) {
        return Err("`apt-get update` failed".to_owned());
    }
    let mut args = vec!["install", "--yes", "--no-install-recommends"];
    args.extend(packages);
    let installed = step("install", &mut apt_get(root, &args))
        // The lists may be older than the mirror's packages.
        || (step("package lists", &mut apt_get(root, &["update"])) && step("install", &mut apt_get(root, &args)));
    if !installed {
        return Err(format!("apt-get could not install {}", packages.join(", ")));
    }
    if packages.contains(&"redis-server") && Path::new("/run/systemd/system").exists() {
        println!(
            "The redis-server package starts a service on 127.0.0.1:6379. No test uses it; \
             `systemctl disable --now redis-server` stops it."
        );
    }
    Ok(())
}

/// Whether apt's lists, as they are, know all of these.
fn known(packages: &[&str]) -> bool {
    let mut show = Command::new("apt-cache");
    show.arg("show").args(packages).stdout(Stdio::null()).stderr(Stdio::null());
    show.status().is_ok_and(|status| status.success())
}

/// `apt-get` that never asks, waits for another apt instead of failing, and starts no service unless init is
/// systemd: that one does not look at `RUNLEVEL`.
fn apt_get(root: bool, args: &[&str]) -> Command {
    let mut command = Command::new(if root { "env" } else { "sudo" });
    if !root {
        command.arg("env");
    }
    command.args(["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get"]);
    command
        .args(["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"])
        .args(args)
        .stdin(Stdio::null());
    command
}
