// SPDX-License-Identifier: GPL-2.0

//! skeleton: says hello when it is loaded, and goodbye when it is unloaded.
//!
//! Rust modules need a kernel with CONFIG_RUST=y, its headers with the compiled `kernel` crate in them, and the very
//! rustc that compiled it.

use kernel::prelude::*;

module! {
    type: Skeleton,
    name: "skeleton",
    authors: ["You"],
    description: "Says hello and goodbye",
    license: "GPL",
}

/// The module while it is loaded: what it owns lives here, and is dropped when it is unloaded.
struct Skeleton {
    numbers: KVec<i32>,
}

impl kernel::Module for Skeleton {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        pr_info!("hello\n");
        let mut numbers = KVec::new();
        // Every allocation may fail, and `?` makes that the errno of insmod.
        numbers.push(40, GFP_KERNEL)?;
        numbers.push(2, GFP_KERNEL)?;
        Ok(Skeleton { numbers })
    }
}

impl Drop for Skeleton {
    fn drop(&mut self) {
        pr_info!("goodbye, the sum is {}\n", self.numbers.iter().sum::<i32>());
    }
}
