// The peer in JavaScript: node synth.js GRANTS OUTDIR [overrides]
//
// Writes with cdktn what `cf-infra compile` makes of the same grants.yaml: one server with its metadata for each grant. It is
// the fastest program that we could write with the package: a class in the form of the bindings that `cdktn get` generates, cut
// down to the attributes in use, references as texts instead of tokens, and no creation stacks (see install.py, AT_THEIR_BEST).
// With `overrides` it uses the generic resource and one addOverride() for each attribute, which needs no class.
"use strict";

const { createHash } = require("crypto");
const { readFileSync } = require("fs");
const { App, TerraformProvider, TerraformResource, TerraformStack } = require("cdktn");
const { load } = require("js-yaml");

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

// The safe form of a key and 6 hex digits of its hash, as resolve.hostname() makes it.
function hostname(key) {
  const trim = (text) => text.replace(/^-+|-+$/g, "");
  const safe = trim(trim(key.toLowerCase().replace(/[^a-z0-9]+/g, "-")).slice(0, 56));
  return `${safe}-${createHash("sha256").update(key).digest("hex").slice(0, 6)}`;
}

function machines(file) {
  return load(readFileSync(file, "utf8")).grants.map((grant) => {
    const key = `${grant.feedstock}-feedstock/${grant.resources[0]}`;
    return { id: grant.feedstock, key, hostname: hostname(key) };
  });
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

const [, , grants, outdir, style] = process.argv;
const wanted = machines(grants);
const cpu = process.cpuUsage();
const begin = process.hrtime.bigint();
synth(wanted, outdir, style === "overrides");
const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
const used = process.cpuUsage(cpu);
console.log(JSON.stringify({ seconds, cpu: (used.user + used.system) / 1e6 }));
