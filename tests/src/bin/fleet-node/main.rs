//! A node of a fleet, for the tests of this crate: a process with a stack of its own over Redis, which does what it is
//! told, a line at a time.
//!
//! On its standard input come orders, `7 remove 3`, and rows of the origin, `! 4 3|1|xx`. On its standard output go
//! answers, `= 7 ok`, and questions to the origin, `? 4 3`. It ends when its input does.

mod node;
mod origin;
mod setup;

use std::{io::Write, sync::Arc};

use tokio::io::{AsyncBufReadExt, BufReader};

use self::{node::Node, origin::Questions};

/// Writes a line to whoever started this process; when nobody reads any more, its input ends too.
fn tell(line: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let questions = Arc::new(Questions::default());
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let node = match setup::node(&args, Arc::clone(&questions)).await {
        Ok(node) => Arc::new(node),
        Err(error) => return tell(format_args!("= 0 {error}")),
    };
    tell(format_args!("= 0 ready"));
    while let Ok(Some(line)) = lines.next_line().await {
        match line.split_once(' ') {
            Some(("!", answer)) => questions.answer(answer),
            Some((id, order)) => drop(tokio::spawn(obey(Arc::clone(&node), id.to_owned(), order.to_owned()))),
            None => {}
        }
    }
    // Whatever still runs ends with the process.
    std::process::exit(0);
}

async fn obey(node: Arc<Node>, id: String, order: String) {
    let answer = node.obey(&order).await.unwrap_or_else(|error| format!("error {:?}", error.kind()));
    tell(format_args!("= {id} {answer}"));
}
