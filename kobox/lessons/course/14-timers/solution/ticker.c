#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/timer.h>

static struct timer_list timer;
static int ticks;

static void ticker_tick(struct timer_list *unused)
{
	pr_info("tick %d\n", ++ticks);
	mod_timer(&timer, jiffies + HZ);
}

static int __init ticker_init(void)
{
	timer_setup(&timer, ticker_tick, 0);
	mod_timer(&timer, jiffies + HZ);
	return 0;
}

static void __exit ticker_exit(void)
{
	timer_delete_sync(&timer);
}

module_init(ticker_init);
module_exit(ticker_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Ticks once a second");
