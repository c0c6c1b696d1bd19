"use strict";
// Loaded before Azurite. LokiJS, its database, sorts all indexes of a collection anew even where nothing is removed from
// it, and at each look into a queue Azurite removes what has expired, mostly nothing: 38 ms with 3,000 messages waiting.
const { Collection } = require("lokijs");

const { remove } = Collection.prototype;
Collection.prototype.remove = function (found) {
  return Array.isArray(found) && found.length === 0 ? undefined : remove.call(this, found);
};
