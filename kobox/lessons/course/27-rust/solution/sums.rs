// SPDX-License-Identifier: GPL-2.0

//! Squares, and their sum.

use kernel::prelude::*;

module! {
    type: Sums,
    name: "sums",
    authors: ["You"],
    description: "Keeps squares",
    license: "GPL",
}

struct Sums {
    squares: KVec<i32>,
}

impl kernel::Module for Sums {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let mut squares = KVec::new();
        for n in 1..=5 {
            squares.push(n * n, GFP_KERNEL)?;
        }
        Ok(Sums { squares })
    }
}

impl Drop for Sums {
    fn drop(&mut self) {
        pr_info!("the sum is {}\n", self.squares.iter().sum::<i32>());
    }
}
