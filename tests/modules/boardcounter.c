/* A platform driver that uses all that a device on the board can have: registers, ports, an interrupt, properties, DMA. */
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/mod_devicetable.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/property.h>

struct counter {
	void __iomem *regs;
	struct resource *ports;
	int interrupts;
	u32 step;
	const char *label;
};

static irqreturn_t counter_irq(int irq, void *data)
{
	struct counter *counter = data;

	if (!readl(counter->regs + 8))
		return IRQ_NONE;
	writel(1, counter->regs + 8);
	counter->interrupts++;
	return IRQ_HANDLED;
}

static ssize_t state_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct counter *counter = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%u %d %u %s\n", readl(counter->regs + 4), counter->interrupts,
			  counter->ports ? inb(counter->ports->start + 1) : 0, counter->label);
}
static DEVICE_ATTR_RO(state);

static ssize_t run_store(struct device *dev, struct device_attribute *attr, const char *buf, size_t count)
{
	struct counter *counter = dev_get_drvdata(dev);

	writel(counter->step, counter->regs);
	return count;
}
static DEVICE_ATTR_WO(run);

static struct attribute *counter_attrs[] = { &dev_attr_state.attr, &dev_attr_run.attr, NULL };
ATTRIBUTE_GROUPS(counter);

/* .remove has another type since 6.11: a managed action does as well. */
static void counter_gone(void *data)
{
	struct platform_device *pdev = data;
	struct counter *counter = platform_get_drvdata(pdev);

	dev_info(&pdev->dev, "removed, value %x\n", readl(counter->regs + 4));
}

static int counter_probe(struct platform_device *pdev)
{
	struct counter *counter = devm_kzalloc(&pdev->dev, sizeof(*counter), GFP_KERNEL);
	int irq;

	if (!counter)
		return -ENOMEM;
	counter->regs = devm_platform_ioremap_resource(pdev, 0);
	if (IS_ERR(counter->regs))
		return PTR_ERR(counter->regs);
	counter->ports = platform_get_resource(pdev, IORESOURCE_IO, 0);
	counter->step = 1;
	counter->label = "none";
	device_property_read_u32(&pdev->dev, "acme,step", &counter->step);
	device_property_read_string(&pdev->dev, "label", &counter->label);
	platform_set_drvdata(pdev, counter);
	irq = devm_add_action(&pdev->dev, counter_gone, pdev);
	if (irq)
		return irq;
	irq = platform_get_irq(pdev, 0);
	if (irq < 0)
		return irq;
	return devm_request_irq(&pdev->dev, irq, counter_irq, IRQF_SHARED, "boardcounter", counter);
}

static const struct acpi_device_id counter_acpi[] = { { "KOBX0001" }, { } };
MODULE_DEVICE_TABLE(acpi, counter_acpi);
static const struct of_device_id counter_of[] = { { .compatible = "acme,counter" }, { } };
MODULE_DEVICE_TABLE(of, counter_of);

static struct platform_driver counter_driver = {
	.probe = counter_probe,
	.driver = {
		.name = "boardcounter", .acpi_match_table = counter_acpi, .of_match_table = counter_of,
		.dev_groups = counter_groups,
	},
};
module_platform_driver(counter_driver);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Driver of a device on the board that does not exist");
