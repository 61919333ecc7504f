// The peer in JavaScript: node synth.js RESOLVED OUTDIR plain|best
//
// Writes with cdktn what cf-infra makes of the same resolved stack: one server with its metadata for each machine.
// cdktn has no bindings for OpenStack. `plain` is what its documentation shows for that: the generic resource and one
// addOverride() for each attribute. `best` is the fastest program that we could write with the package: a class in the form
// of generated bindings, cut down to the attributes in use, references as texts instead of tokens (and no creation stacks,
// see install.py).
"use strict";

const { readFileSync } = require("fs");
const { App, TerraformProvider, TerraformResource, TerraformStack } = require("cdktn");

const SERVER = "openstack_compute_instance_v2";

class Server extends TerraformResource {
  constructor(scope, id, attributes) {
    super(scope, id, { terraformResourceType: SERVER });
    this.attributes = attributes;
  }

  synthesizeAttributes() {
    return this.attributes;
  }
}

function withOverrides(scope, id, attributes) {
  const resource = new TerraformResource(scope, id, { terraformResourceType: SERVER });
  for (const [name, value] of Object.entries(attributes)) {
    resource.addOverride(name, value);
  }
}

function machines(file) {
  return Object.values(JSON.parse(readFileSync(file, "utf8")).machines).map((machine) => ({
    id: machine.key.split("/")[0],
    key: machine.key,
    hostname: machine.hostname,
  }));
}

function attributes(machine) {
  return {
    name: `cf-farm-${machine.hostname}`,
    flavor_id: "${openstack_compute_flavor_v2.gpu.id}",
    image_id: "${data.openstack_images_image_v2.ubuntu.id}",
    security_groups: ["${openstack_networking_secgroup_v2.farm.name}"],
    user_data: `\${replace(var.user_data, "@HOSTNAME@", "${machine.hostname}")}`,
    config_drive: true,
    metadata: { managed_by: "cf-infra", stack: "farm", grant: machine.key },
    network: [{ uuid: "${openstack_networking_network_v2.farm.id}" }],
  };
}

function synth(wanted, outdir, generic) {
  const app = new App({ outdir, stackTraces: false });
  const stack = new TerraformStack(app, "farm");
  new TerraformProvider(stack, "openstack", {
    terraformResourceType: "openstack",
    terraformGeneratorMetadata: { providerName: "openstack" },
    terraformProviderSource: "terraform-provider-openstack/openstack",
  });
  for (const machine of wanted) {
    if (generic) {
      withOverrides(stack, machine.id, attributes(machine));
    } else {
      new Server(stack, machine.id, attributes(machine));
    }
  }
  app.synth();
}

const [, , resolved, outdir, style] = process.argv;
const wanted = machines(resolved);
const cpu = process.cpuUsage();
const begin = process.hrtime.bigint();
synth(wanted, outdir, style === "plain");
const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
const used = process.cpuUsage(cpu);
console.log(JSON.stringify({ seconds, cpu: (used.user + used.system) / 1e6 }));
