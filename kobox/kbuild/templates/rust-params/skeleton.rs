// SPDX-License-Identifier: GPL-2.0

//! skeleton: parameters in Rust. The kernel reads them when the module is loaded; it shows none of them in sysfs.
//!
//! `params:` needs Linux 7.0; integers are what it takes.

use kernel::prelude::*;

module! {
    type: Skeleton,
    name: "skeleton",
    authors: ["You"],
    description: "Adds two parameters",
    license: "GPL",
    params: {
        number: i32 {
            default: 40,
            description: "A number",
        },
        count: u8 {
            default: 2,
            description: "Another, from 0 to 200",
        },
    },
}

struct Skeleton {
    sum: i32,
}

impl kernel::Module for Skeleton {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let number = *module_parameters::number.value();
        let count = *module_parameters::count.value();
        // The type refuses what is no number, or too large for it; what else must not be is refused here.
        if count > 200 {
            pr_err!("count is {}, and may be 200 at most\n", count);
            return Err(EINVAL);
        }
        // In the kernel an overflow is a panic: say what shall happen.
        let sum = number.checked_add(count.into()).ok_or(EOVERFLOW)?;
        pr_info!("number {}, count {}\n", number, count);
        Ok(Skeleton { sum })
    }
}

impl Drop for Skeleton {
    fn drop(&mut self) {
        pr_info!("the sum was {}\n", self.sum);
    }
}
